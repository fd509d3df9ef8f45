"""Where a restore goes, what it refuses, and the order of its steps. No server, no repository."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.engines.redis import destination, processes, rdb, restore
from dbops.engines.redis.options import Options
from dbops.errors import ConfigError, DbopsError, Refused
from dbops.repository import catalogue
from dbops.repository.routes import Entry
from dbops.restore import set_aside
from tests.unit.redis.made import NOON, entry, target

LATER = NOON + timedelta(hours=1)
FOUND = (
    entry("20260102-120000F", NOON),
    entry("20260102-120000F_20260102-123000L", NOON + timedelta(minutes=30), "20260102-120000F"),
    entry("20260102-130000F", LATER),
    entry("20260102-130000F_20260102-131000L", LATER + timedelta(minutes=10), "20260102-130000F"),
)


@pytest.fixture(autouse=True)
def stored(monkeypatch: Any) -> list[Entry]:
    """The repository's entries; formats up to REDIS0011 can be read here."""
    found = list(FOUND)
    monkeypatch.setattr(catalogue, "entries", lambda repo: tuple(found))
    monkeypatch.setattr(rdb, "readable", lambda opts, format_: format_ <= "REDIS0011")
    monkeypatch.setattr(rdb, "server_version", lambda opts: "Redis 7.0.15")
    return found


def way(**request: Any) -> destination.Destination:
    """Return where a request leads."""
    return destination.choose(Options(), None, RestoreRequest(**request))  # type: ignore[arg-type]


def test_the_newest_takes_all_the_log() -> None:
    found = way()
    assert (found.full.backup_id, found.until) == ("20260102-130000F", None)
    assert found.log is not None
    assert found.newest == LATER + timedelta(minutes=10)


def test_an_id_alone_is_that_moment() -> None:
    found = way(backup_id="20260102-120000F")
    assert (found.full.backup_id, found.log) == ("20260102-120000F", None)
    assert "the moment of backup 20260102-120000F" in found.words


def test_a_time_takes_the_backup_before_it() -> None:
    moment = NOON + timedelta(minutes=29)
    found = way(time=moment)
    assert (found.full.backup_id, found.until) == ("20260102-120000F", moment)
    assert found.log is not None
    assert found.log.manifest.parent_id == "20260102-120000F"


@pytest.mark.parametrize(
    "moment",
    [NOON - timedelta(seconds=1), NOON + timedelta(minutes=45), LATER + timedelta(minutes=11)],
)
def test_a_time_out_of_reach_is_refused(moment: Any) -> None:
    with pytest.raises(ConfigError, match="2026"):
        way(time=moment)


@pytest.mark.parametrize("request_", [{"point": "0/1"}, {"name": "before"}])
def test_points_and_names_are_unknown_here(request_: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no named restore points"):
        way(**request_)


def test_a_time_needs_its_zone() -> None:
    with pytest.raises(ConfigError, match="time zone"):
        way(time=NOON.replace(tzinfo=None))


@pytest.mark.parametrize("format_", ["REDIS0012", "VALKEY080"])
def test_what_the_server_here_cannot_read(stored: list[Entry], format_: str) -> None:
    stored[:] = [entry("20260102-120000F", NOON, format_=format_)]
    with pytest.raises(ConfigError, match=f"{format_}, which the Redis 7.0.15 on this host cannot"):
        way()


class Member:
    """A member's data directory."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.data = folder / "redis" / "store"
        (self.data / "appendonlydir").mkdir(parents=True)
        (self.data / "dump.rdb").touch()
        more = {"data_dir": str(self.data), "service": "store.service"} | options
        self.target = target(folder, **more)

    def plan(self, **request: Any) -> list[str]:
        """Return the steps of a restore in words."""
        return list(runner.describe(restore.plan_restore(self.target, RestoreRequest(**request))))


@pytest.fixture
def member(tmp_path: Path) -> Member:
    """A store's member."""
    return Member(tmp_path)


def test_the_steps_in_order(member: Member) -> None:
    steps = member.plan(time=NOON + timedelta(minutes=10))
    begins = [
        "systemctl stop",
        "rename",
        "make the directory",
        "fetch base and log",
        "cut the log after",
        "let check-aof",
        "note in",
        "systemctl start",
        "wait until",
        "make the server a primary",
        "verify that",
        "note in",
    ]
    assert len(steps) == len(begins)
    for step, begin in zip(steps, begins, strict=True):
        assert step.startswith(begin), step
    assert not set_aside.found(member.data)


def test_a_cache_gets_a_snapshot(tmp_path: Path) -> None:
    steps = Member(tmp_path, purpose="cache").plan()
    assert any(step.startswith("make dump.rdb of") for step in steps)
    assert not any(step.startswith("cut") for step in steps)


def test_a_directory_with_something_else_is_left_alone(member: Member) -> None:
    (member.data / "letters").mkdir()
    with pytest.raises(Refused, match="'letters', which is not Redis' own"):
        member.plan()


def test_over_a_running_server_only_a_rehearsal(member: Member, monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "working_in", lambda folder: [4711])
    with pytest.raises(Refused, match="process 4711"):
        member.plan()
    assert member.plan(rehearsal=True)


def test_too_small_a_disk(member: Member, monkeypatch: Any) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 1999})())
    with pytest.raises(Refused, match="nothing was changed"):
        member.plan()


def test_only_on_a_member(tmp_path: Path) -> None:
    for part in ("repository", "drill"):
        with pytest.raises(ConfigError, match="run this on its member host"):
            restore.plan_restore(target(tmp_path, part), RestoreRequest())


def test_discard_wants_a_server_that_is_up(member: Member) -> None:
    assert restore.plan_discard(member.target) == ()
    member.data.rename(set_aside.name(member.data))
    with pytest.raises(DbopsError):
        restore.plan_discard(member.target)
    assert set_aside.found(member.data)
