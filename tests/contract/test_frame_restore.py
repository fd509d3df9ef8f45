"""The frame of a restore conducts the fake engine: each answer fails in turn, none unnoticed.

What is *not* here: the removal of what was set aside (``test_frame_discard``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.errors import (
    CommandFailed,
    ConfigError,
    Refused,
    Unreachable,
    VerificationFailed,
)
from dbops.restore import plan as frame
from dbops.restore import proof, set_aside
from dbops.restore.inplace import DataDir, InPlace, Wait
from dbops.runner import Action
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_member
from tests.contract.fake_member import SERVER, Way

Answers = InPlace[Way]
Spoil = Callable[[Answers], Answers]
WORDS = "The fake says no"
KEPT = "data.set-aside-20260102T150000Z"


@pytest.fixture
def target(write_target: WriteTarget, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A member whose server was stopped; what it is set aside as is known."""
    monkeypatch.setattr(set_aside, "name", lambda data_dir: data_dir.with_name(KEPT))
    return former(write_target())


def former(target: Target) -> Target:
    """Give a member former data."""
    (target.state_dir / "data").mkdir(parents=True)
    (target.state_dir / "data" / "former").touch()
    return target


def restore(target: Target, answers: Answers, tell: Callable[[str], None] = print) -> list[str]:
    """Restore, and return the steps that were begun."""
    begun: list[str] = []
    try:
        steps = frame.plan(target, RestoreRequest(), answers)
        runner.run(steps, lambda step: begun.append(step.describe()), tell)
    finally:
        target.state_dir.joinpath("begun").write_text("\n".join(begun))
    return begun


def begun(target: Target) -> list[str]:
    """Return the steps that :func:`restore` began."""
    return target.state_dir.joinpath("begun").read_text().splitlines()


def note(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((target.state_dir / proof.NOTE).read_text())
    return found


def words_of(target: Target) -> list[str]:
    """Return the steps of a restore of the fake, word for word."""
    state = target.state_dir
    kept = f"the former data is kept in {state}/{KEPT}"
    return [
        "fetch the log",
        f"rename {state}/data to {state}/{KEPT}",
        f"make the directory {state}/data",
        "/bin/echo restoring newest",
        f"write rows ({kept})",
        "leave a mark",
        f"note in {state}/restore.json that this restore is not proven",
        "start the server",
        "wait until it answers (at most 5 s)",
        "open it",
        "verify that it is sound",
        f"note in {state}/restore.json that this restore is proven",
        f"remove {state}/data.fetched",
    ]


def fail(*_: object) -> Any:
    raise VerificationFailed(f"{WORDS}.")


def failing(*_: object) -> Any:
    return (Action("fail", fail),)


def data(**changes: Any) -> Spoil:
    return lambda answers: replace(answers, data=replace(answers.data, **changes))


def wait(answers: Answers, **changes: Any) -> Answers:
    assert answers.wait is not None
    return replace(answers, wait=replace(answers.wait, **changes))


BEFORE_ANY_STEP: list[tuple[str, Spoil]] = [
    ("serving", data(serving=fail)),
    ("foreign", data(foreign=fail)),
    ("outside", data(outside=fail)),
    ("choose", lambda answers: replace(answers, choose=fail)),
    ("before", lambda answers: replace(answers, before=fail)),
    ("fill", lambda answers: replace(answers, fill=fail)),
    ("start", lambda answers: replace(answers, start=fail)),
]
IN_A_STEP: list[tuple[str, int, Spoil]] = [
    ("before", 0, lambda answers: replace(answers, before=failing)),
    ("fill", 3, lambda answers: replace(answers, fill=failing)),
    ("position", 6, lambda answers: replace(answers, position=fail)),
    ("start", 7, lambda answers: replace(answers, start=failing)),
    ("wait", 8, lambda answers: wait(answers, state=fail)),
    ("opened", 9, lambda answers: replace(answers, opened=("open it", fail))),
    ("sound", 10, lambda answers: replace(answers, sound=("verify that it is sound", fail))),
]
TELLING_WHERE_THE_DATA_ARE = ("wait", "opened", "sound")


def test_good_answers_are_carried_out_in_order(target: Target) -> None:
    answers = fake_member.in_place(target)
    assert restore(target, answers) == words_of(target)
    state = target.state_dir
    assert (state / KEPT / "former").exists()
    assert sorted(path.name for path in (state / "data").iterdir()) == ["rows", "server"]
    assert (state / "data").stat().st_mode & 0o777 == 0o700
    assert not (state / "data.fetched").exists()
    said = note(target)
    assert said.pop("verified_at")
    assert said == {"backup_id": "B1", "set_aside": f"{state}/{KEPT}", "position": "2"}


@pytest.mark.parametrize(("name", "spoil"), BEFORE_ANY_STEP)
def test_an_answer_that_fails_while_it_is_planned_changes_nothing(
    target: Target, name: str, spoil: Spoil
) -> None:
    with pytest.raises(VerificationFailed, match=WORDS):
        restore(target, spoil(fake_member.in_place(target)))
    assert begun(target) == []
    assert (target.state_dir / "data" / "former").exists()


@pytest.mark.parametrize(("name", "where", "spoil"), IN_A_STEP)
def test_a_step_that_fails_ends_the_restore_unproven(
    target: Target, name: str, where: int, spoil: Spoil
) -> None:
    with pytest.raises(VerificationFailed, match=WORDS) as caught:
        restore(target, spoil(fake_member.in_place(target)))
    steps = begun(target)
    assert steps[:where] == words_of(target)[:where]
    assert len(steps) == where + 1
    place = target.state_dir / ("data" if where == 0 else KEPT)
    assert (place / "former").exists()
    if where > 6:
        assert note(target)["verified_at"] is None
    if name in TELLING_WHERE_THE_DATA_ARE:
        assert str(caught.value).endswith(
            f"{WORDS}; the former data is kept in {target.state_dir}/{KEPT}."
        )


def test_each_answer_is_made_to_fail() -> None:
    """Tests of their own: ``last_words``, ``receives`` and ``explain``; the rest are facts."""
    tried = {name for name, _ in BEFORE_ANY_STEP} | {name for name, _, _ in IN_A_STEP}
    told = {"receives", "explain", "data"}
    facts = {"path", "account", "service", "beside"}
    assert {one.name for one in fields(InPlace)} == (
        tried & {f.name for f in fields(InPlace)}
    ) | told
    assert {one.name for one in fields(DataDir)} == {"serving", "foreign", "outside"} | facts
    assert {one.name for one in fields(Wait)} == {"title", "limit_seconds", "state", "last_words"}


def test_what_an_engine_cannot_leaves_no_step(target: Target) -> None:
    answers = fake_member.in_place(target)
    beside = answers.data.beside
    assert beside is not None
    beside.mkdir()
    answers = data(beside=None, outside=None)(answers)
    answers = replace(answers, before=None, wait=None, opened=None, position=None)
    missing = ("fetch", "wait", "open it", "remove")
    assert restore(target, answers) == [
        step for step in words_of(target) if not step.startswith(missing)
    ]
    assert "position" not in note(target)


def test_a_unit_is_stopped_before_anything_moves(target: Target) -> None:
    answers = data(service="fake.service")(fake_member.in_place(target))
    lines = list(runner.describe(frame.plan(target, RestoreRequest(), answers)))
    assert lines[:2] == ["fetch the log", "systemctl stop fake.service"]


def test_without_former_data_there_is_nothing_to_set_aside(target: Target) -> None:
    (target.state_dir / "data" / "former").unlink()
    steps = restore(target, fake_member.in_place(target))
    assert not any(step.startswith("rename") for step in steps)
    assert "write rows (there was no former data)" in steps
    assert note(target)["set_aside"] is None


def refusal(target: Target, answers: Answers, **request: Any) -> str:
    with pytest.raises(Refused) as caught:
        frame.plan(target, RestoreRequest(**request), answers)
    return str(caught.value)


def test_a_running_server_is_left_alone(target: Target) -> None:
    answers = data(serving=lambda: SERVER)(fake_member.in_place(target))
    assert refusal(target, answers) == (
        f"A server is running on {target.state_dir}/data (process 4711): stop it before a restore."
    )


def test_a_rehearsal_is_told_whether_a_server_runs(target: Target) -> None:
    lives: list[bool] = []

    def choose(request: RestoreRequest, live: bool) -> Way:
        lives.append(live)
        return Way(request)

    answers = replace(fake_member.in_place(target), choose=choose)
    for serving in (lambda: SERVER, lambda: None):
        frame.plan(target, RestoreRequest(rehearsal=True), data(serving=serving)(answers))
    assert lives == [True, False]


def test_a_server_that_was_started_meanwhile_keeps_its_data(target: Target) -> None:
    answers = fake_member.in_place(target)
    steps = frame.plan(target, RestoreRequest(), answers)
    (target.state_dir / "data" / "server").touch()
    with pytest.raises(Refused, match="A server is running"):
        runner.run(steps)
    assert (target.state_dir / "data" / "former").exists()


def test_what_is_not_the_engines_is_left_alone(target: Target) -> None:
    answers = data(foreign=lambda: "holds letters")(fake_member.in_place(target))
    words = f"{target.state_dir}/data holds letters: nothing was changed."
    assert refusal(target, answers) == words
    assert refusal(target, answers, rehearsal=True) == words


def test_data_elsewhere_are_not_left_behind(target: Target) -> None:
    answers = data(outside=lambda: "tables outside itself")(fake_member.in_place(target))
    assert refusal(target, answers) == (
        f"{target.state_dir}/data has tables outside itself, which setting aside would leave "
        "behind: restore to another host, or move them away by hand first."
    )


def test_a_directory_out_of_reach_is_a_matter_of_the_account(target: Target) -> None:
    def closed() -> str | None:
        raise PermissionError

    answers = data(foreign=closed)(fake_member.in_place(target))
    assert refusal(target, answers).endswith("may not be read by this account: run dbops as root.")


def test_a_link_is_not_set_aside(target: Target) -> None:
    place = target.state_dir / "data"
    place.rename(target.state_dir / "elsewhere")
    place.symlink_to(target.state_dir / "elsewhere")
    assert "cannot be set aside by renaming" in refusal(target, fake_member.in_place(target))


def test_too_small_a_disk_is_told_before_anything_moves(target: Target) -> None:
    def choose(request: RestoreRequest, live: bool) -> Way:
        return Way(request, room=1 << 60)

    words = refusal(target, replace(fake_member.in_place(target), choose=choose))
    assert "a restore of B1 needs 1099511627776 MiB beside what is set aside" in words


def test_another_version_is_named() -> None:
    frame.require_version("B1", "Fake", "2", "2")
    with pytest.raises(ConfigError) as caught:
        frame.require_version("B1", "Fake", "2", "3")
    assert str(caught.value) == (
        "Backup B1 was made by Fake 2 and this host has Fake 3: restore it on a host with 2."
    )


def ending(target: Target, answers: Answers) -> str:
    """Return how a restore ends that fails, without where the former data are."""
    with pytest.raises(VerificationFailed) as caught:
        restore(target, answers)
    words, kept, _ = str(caught.value).partition("; the former data is kept in ")
    assert kept
    return words


def states(*answers: str | int | Exception | None) -> Callable[[], Any]:
    """Return a function that gives one answer after the other, and raises those that are errors."""
    left = iter(answers)

    def state() -> str | int | None:
        now = next(left)
        if isinstance(now, Exception):
            raise now
        return now

    return state


def test_progress_is_told_once_while_the_server_starts(target: Target) -> None:
    state = states("1 of 2", "1 of 2", Unreachable("x"), CommandFailed("x"), None)
    told: list[str] = []
    restore(target, wait(fake_member.in_place(target), state=state), told.append)
    assert told == ["restoring newest", "1 of 2", "the server is starting"]


@pytest.mark.parametrize(("last", "said"), [("no memory", "no memory"), ("", "it left no message")])
def test_a_server_that_ends_has_the_last_word(target: Target, last: str, said: str) -> None:
    """It is asked for when a plan is made, before data are moved, and twice while it starts."""
    answers = data(serving=states(None, None, SERVER, None))(fake_member.in_place(target))
    answers = wait(answers, state=lambda: "loading", last_words=lambda: last)
    assert ending(target, answers) == f"The restored server ended: {said}"
    assert note(target)["verified_at"] is None


def test_a_server_that_never_came_is_given_up(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_STARTING_SECONDS", 0.5)
    asked: list[str] = []

    def state() -> str | None:
        asked.append("once more")
        return "starting"

    answers = data(serving=lambda: None)(fake_member.in_place(target))
    answers = wait(answers, state=state, last_words=lambda: "bad option")
    assert ending(target, answers) == "The restored server ended: bad option"
    assert len(asked) > 1


def test_a_server_that_cannot_be_seen_is_waited_for(target: Target) -> None:
    serving = states(None, None, SERVER, Refused("it cannot be seen"))
    answers = data(serving=serving)(fake_member.in_place(target))
    restore(target, wait(answers, state=states("starting", "starting", None)))
    assert note(target)["verified_at"]


def test_a_server_that_does_not_open_in_time(target: Target) -> None:
    state = states(*["loading"] * 10)
    answers = wait(fake_member.in_place(target), state=state, limit_seconds=0.5)
    assert ending(target, answers) == "The restored server was not open within 0 s (loading)"


def broken(*_: object) -> Any:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: replace(one, opened=("open it", broken)), "cannot be opened"),
        (lambda one: replace(one, sound=("verify that it is sound", broken)), "is not sound"),
    ],
)
def test_an_engines_own_error_is_told_in_its_words(
    target: Target, spoil: Spoil, words: str
) -> None:
    answers = spoil(fake_member.in_place(target))
    with pytest.raises(KeyError):
        restore(target, answers)
    (target.state_dir / "data" / "server").unlink()
    (target.state_dir / "data.fetched").rmdir()
    (target.state_dir / KEPT).rename(target.state_dir / "before")
    answers = replace(
        answers, explain=lambda error: "no x." if isinstance(error, KeyError) else None
    )
    assert ending(target, answers) == f"The restored server {words}: no x"


def test_the_proof_of_a_restore_knows_what_was_restored(target: Target) -> None:
    asked: list[Way | None] = []
    answers = replace(fake_member.in_place(target), sound=("verify that it is sound", asked.append))
    restore(target, answers)
    frame.discard(target, answers)
    assert asked == [Way(RestoreRequest()), None]
