"""The frame of ``dbops check`` conducts the fake engine: each answer fails in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbops.check import lines
from dbops.check.host import Inspection, check
from dbops.contract import Catalogue, Check
from dbops.errors import Unreachable
from dbops.options import EngineOptions
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_answers

WORDS = "The fake says no."
SERVER, REPOSITORY = "server can be checked", "repository can be checked"
DRILL_HOST, MORE = "drill host can be checked", "kernel can be checked"
FAILING: list[tuple[str, str, str]] = [
    ("member", "connect", "server answers"),
    ("member", "version", SERVER),
    ("member", "server", SERVER),
    ("member", "beat", "heartbeat is fresh"),
    ("member", "reach", REPOSITORY),
    ("member", "more", MORE),
    ("repository", "catalogue", REPOSITORY),
    ("repository", "log", REPOSITORY),
    ("repository", "newest_log", REPOSITORY),
    ("repository", "more", MORE),
    ("drill", "program", DRILL_HOST),
    ("drill", "catalogue", REPOSITORY),
    ("drill", "more", MORE),
]


@pytest.fixture
def make(write_target: WriteTarget, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Target]:
    """Return a function that makes a target; its disks and certificate are sound."""
    monkeypatch.setattr(lines, "certificate", lambda path: Check("certificate", True))
    monkeypatch.setattr(lines, "private", lambda path, name, owner: Check(name, True))
    monkeypatch.setattr(lines, "headroom", lambda path, name: Check(name, True))
    return lambda part: write_target(part=part)


def found(target: Target, asked: Inspection[str] | None = None) -> dict[str, Check]:
    """Return the lines by their names."""
    opts = EngineOptions(
        port=1,
        migrate_port=1,
        os_user="fake",
        data_dir=target.state_dir,
        repo_path=target.state_dir,
        scratch_dir=target.state_dir,
        schedule_interval_seconds={"full": 1e12, "log": 1},
    )
    told = list(check(target, opts, asked or fake_answers.inspection(target)))
    named = {one.name: one for one in told}
    assert len(named) == len(told)
    return named


def spoiled(target: Target, name: str, error: Exception) -> Inspection[str]:
    """Return the answers, of which one fails."""

    def fail(*_: object) -> Any:
        raise error

    answer: Any = {name: (("kernel", fail),) if name == "more" else fail}
    return replace(fake_answers.inspection(target), **answer)


def test_a_sound_host_has_all_its_lines(make: Callable[[str], Target]) -> None:
    member, repository = found(make("member")), found(make("repository"))
    assert list(member) == [
        "data directory is private",
        "data disk has room",
        "certificate",
        "server answers",
        "version",
        "role",
        "heartbeat is fresh",
        "pages are small",
        "repository answers",
    ]
    assert all(one.ok for one in member.values()), member
    assert list(repository) == [
        "repository is private",
        "repository disk has room",
        "pages are small",
        "repository answers",
        "repository is encrypted",
        "no backup holds damaged pages",
        "minimum redundancy",
        "newest full backup is as large as before",
        "full backup is not late",
        "archived log has no hole",
        "newest stored log is fresh",
        "newest backup has a fingerprint",
        "stored files were verified",
    ]
    drill = list(found(make("drill")))
    assert drill[0] == "version"
    assert drill[-1] == "newest backup has a fingerprint"


def test_a_doubt_about_the_newest_backup_is_a_red_line(make: Callable[[str], Target]) -> None:
    target = make("repository")
    answers = fake_answers.inspection(target)
    doubted = replace(answers, catalogue=lambda: replace(answers.catalogue(), doubt="It is small."))
    line = found(target, doubted)["newest full backup is as large as before"]
    assert (line.ok, line.detail) == (False, "It is small.")
    assert "--accept-smaller" in line.hint


@pytest.mark.parametrize(("part", "name", "line"), FAILING)
@pytest.mark.parametrize(
    ("error", "words"), [(Unreachable(WORDS), WORDS), (KeyError("x"), "it is gone")]
)
def test_an_answer_that_fails_is_a_red_line_and_the_rest_is_looked_at(
    make: Callable[[str], Target], part: str, name: str, line: str, error: Exception, words: str
) -> None:
    target = make(part)
    sound = {one for one, check in found(target).items() if check.ok}
    told = found(target, spoiled(target, name, error))
    if name == "connect" and isinstance(error, KeyError):
        line = SERVER
    assert (told[line].ok, told[line].detail) == (False, words)
    assert told[line].hint
    assert [one for one in sound & told.keys() if not told[one].ok] == [line] * (line in sound)
    last = list(found(target))[-1]
    assert last in told or line == REPOSITORY


@pytest.mark.parametrize(("part", "name", "line"), FAILING)
def test_any_other_error_is_raised_as_it_is(
    make: Callable[[str], Target], part: str, name: str, line: str
) -> None:
    target, error = make(part), ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        found(target, spoiled(target, name, error))


def test_each_answer_is_made_to_fail() -> None:
    """``log_hint`` is words; ``explain`` is asked in every test of a driver's error."""
    tried = {name for _, name, _ in FAILING}
    assert {field.name for field in fields(Inspection)} == tried | {"log_hint", "explain"}


def test_a_server_of_another_release_is_told_on_members_and_drill_hosts(
    make: Callable[[str], Target],
) -> None:
    for part, name in (("member", "version"), ("drill", "program")):
        target = make(part)
        other = f"{target.version}0.1"
        answer: Any = {name: lambda *_, said=other: said}
        line = found(target, replace(fake_answers.inspection(target), **answer))["version"]
        assert not line.ok
        assert line.detail == f"{target.version}0.1, the target says {target.version}"


@pytest.mark.parametrize(
    ("beat", "words"),
    [(None, "no heartbeat was ever written"), (datetime.now(UTC) - timedelta(hours=1), "s ago")],
)
def test_no_heartbeat_and_an_old_one_are_red(
    make: Callable[[str], Target], beat: datetime | None, words: str
) -> None:
    target = make("member")
    asked = replace(fake_answers.inspection(target), beat=lambda server: beat)
    line = found(target, asked)["heartbeat is fresh"]
    assert not line.ok
    assert words in line.detail


def test_log_that_is_old_or_absent_is_red_with_the_engine_s_hint(
    make: Callable[[str], Target],
) -> None:
    target = make("repository")
    for newest in (None, datetime(2026, 1, 1, tzinfo=UTC)):
        answer: Any = {"newest_log": lambda known, at=newest: at}
        line = found(target, replace(fake_answers.inspection(target), **answer))[
            "newest stored log is fresh"
        ]
        assert (line.ok, line.hint) == (False, "look at the fake")


def test_an_engine_without_a_log_has_no_line_of_it(make: Callable[[str], Target]) -> None:
    target = make("repository")
    asked = replace(fake_answers.inspection(target), log=None, newest_log=None)
    assert not [name for name in found(target, asked) if " log " in name]


def test_a_backup_that_is_open_damaged_or_without_a_fingerprint_is_named(
    make: Callable[[str], Target],
) -> None:
    target = make("repository")
    (first, second) = fake_answers.inspection(target).catalogue().backups
    bad = (
        replace(first, encrypted=False),
        replace(second, error=True, manifest=None),
    )
    known = Catalogue(bad, None)
    told = found(target, replace(fake_answers.inspection(target), catalogue=lambda: known))
    assert told["repository is encrypted"].detail == "B1"
    assert told["no backup holds damaged pages"].detail == "B2"
    assert told["newest backup has a fingerprint"].detail == "B2 has no content fingerprint"
    assert not any(told[name].ok for name in list(told)[4:6])


def test_folders_are_looked_at_for_real(write_target: WriteTarget, tmp_path: Path) -> None:
    target = write_target(part="member")
    asked = fake_answers.inspection(target)
    opts = EngineOptions(
        port=1, migrate_port=1, os_user="nobody", data_dir=tmp_path, repo_path=tmp_path
    )
    told = {one.name: one for one in check(target, opts, asked)}
    assert not told["data directory is private"].ok
    assert "not about" in next(name for name in told if "certificate" in name)
