"""A restore in place around a real server; a copy of its files stands in for pgBackRest's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.engines.postgresql import pgbackrest, restore
from dbops.errors import Refused, VerificationFailed
from dbops.restore import proof, set_aside
from dbops.runner import Command
from dbops.targets import Target
from tests.integration.cluster import PORT, Cluster
from tests.unit.postgresql import made

ACCOUNT = "postgres" if os.geteuid() == 0 else None


class Member:
    """A stopped server, its data with checksums; ``stored`` is what a restore fetches.

    That is a backup and the log after it: a table, the restore point ``here``, and a row.
    """

    def __init__(self, directory: Path, programs: Path) -> None:
        self.cluster = Cluster(directory, programs)
        self.stored, self.backup = directory / "stored", directory / "backup"
        self.cluster.start()
        self.program("pg_ctl", "-w", "stop")
        self.program("pg_checksums", "--enable")
        runner.check(self.copy(self.cluster.data, self.backup))
        self.cluster.start()
        self.cluster.run("CREATE TABLE t (a int)", "SELECT pg_create_restore_point('here')")
        self.cluster.run("INSERT INTO t VALUES (1)")
        self.cluster.stop()
        runner.check(self.copy(self.cluster.data / "pg_wal", self.backup / "pg_wal"))

    def begin(self) -> None:
        """Make the data directory and what is stored anew; nothing is set aside."""
        if (self.cluster.data / "postmaster.pid").exists():
            self.cluster.stop()
        for path in (self.cluster.data, self.stored, *set_aside.found(self.cluster.data)):
            shutil.rmtree(path, ignore_errors=True)
        for place in (self.cluster.data, self.stored):
            runner.check(self.copy(self.backup, place))

    def program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs on the data directory."""
        self.cluster.program(name, "-D", str(self.cluster.data), *arguments)

    @staticmethod
    def copy(source: Path, place: Path) -> Command:
        return Command(("cp", "-aT", str(source), str(place)), user=ACCOUNT)

    def set(self, *lines: str) -> None:
        """Add settings to what a restore fetches, as pgBackRest does."""
        with (self.stored / "postgresql.auto.conf").open("a") as stream:
            stream.writelines(f"{line}\n" for line in lines)

    def command(self, options: Any, verb: str, *arguments: str) -> Command:
        """Stand in for ``pgbackrest restore``."""
        assert verb == "restore"
        return self.copy(self.stored, self.cluster.data)


@pytest.fixture(scope="module")
def made_member(programs: Path) -> Iterator[Member]:
    """The member of all tests here."""
    directory = Path(f"/tmp/dbops-restore-{os.getpid()}")
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    try:
        member = Member(directory, programs)
        yield member
        member.begin()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def member(made_member: Member, monkeypatch: pytest.MonkeyPatch) -> Member:
    """A member with a repository, which starts its server by hand."""
    made_member.begin()
    version = (made_member.stored / "PG_VERSION").read_text().strip()
    info = made.info().replace('"version": "15"', f'"version": "{version}"')
    repository = made.Repository(info, made.segments(0x10, 0x40), {})
    monkeypatch.setattr(pgbackrest, "ask", repository.ask)
    monkeypatch.setattr(pgbackrest, "command", made_member.command)
    return made_member


@pytest.fixture
def target(member: Member, tmp_path: Path) -> Target:
    """The member's target."""
    tmp_path.chmod(0o755)
    return made.target(
        tmp_path,
        "member",
        data_dir=str(member.cluster.data),
        service=None,
        socket_dir=str(member.cluster.directory),
        port=PORT,
        bin_dir=str(member.cluster.programs),
        restore_time_limit_seconds=60,
    )


def restored(target: Target) -> list[str]:
    """Restore to the newest moment; return what was told on the way."""
    told: list[str] = []
    runner.run(restore.plan_restore(target, RestoreRequest()), on_line=told.append)
    return told


def ending(target: Target) -> str:
    """Return how a restore ends that fails, and see that it names the former data."""
    with pytest.raises(VerificationFailed) as caught:
        restored(target)
    assert note(target)["verified_at"] is None
    words, _, kept = str(caught.value).partition("; the former data is kept in ")
    assert (Path(kept.rstrip(".")) / "PG_VERSION").exists()
    return words


def note(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((target.state_dir / proof.NOTE).read_text())
    return found


def test_a_restored_server_is_proven_and_what_it_replaced_discarded(
    member: Member, target: Target
) -> None:
    member.set("restore_command = '/bin/false'", "recovery_target_timeline = 'current'")
    (member.stored / "recovery.signal").touch()
    (member.stored / "standby.signal").touch()
    restored(target)
    assert member.cluster.rows("SELECT a, pg_is_in_recovery() FROM t") == [(1, False)]
    assert member.cluster.rows("SHOW restore_command") == [("",)]
    assert note(target)["verified_at"]
    assert note(target)["backup_id"] == made.SECOND
    with pytest.raises(Refused, match="A server is running"):
        restore.plan_restore(target, RestoreRequest())
    (aside,) = set_aside.found(member.cluster.data)
    assert note(target)["set_aside"] == str(aside)
    runner.run(restore.plan_discard(target))
    assert not aside.exists()


def test_a_server_that_does_not_start_has_the_last_word(
    member: Member, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_STARTING_SECONDS", 2.0)
    member.set("shared_buffers = 'much'")
    words = ending(target)
    assert words.startswith("The restored server ended: ")
    assert "postgresql.auto.conf" in words
    with pytest.raises(Refused, match="not up and sound, so nothing is removed: PostgreSQL on"):
        restore.plan_discard(target)


def test_a_recovery_that_stands_still_is_not_waited_for(member: Member, target: Target) -> None:
    member.set(
        "restore_command = '/bin/false'",
        "recovery_target_name = 'here'",
        "recovery_target_action = 'pause'",
    )
    (member.stored / "recovery.signal").touch()
    assert ending(target).startswith("The recovery stands still: paused at 0/")


def test_data_without_checksums_are_not_sound(member: Member, target: Target) -> None:
    member.cluster.start()
    member.program("pg_ctl", "-w", "stop")
    member.program("pg_checksums", "--disable")
    shutil.rmtree(member.stored)
    runner.check(member.copy(member.cluster.data, member.stored))
    assert ending(target) == "The restored server is not sound: its data checksums are off"
    with pytest.raises(Refused, match="nothing is removed: its data checksums are off"):
        restore.plan_discard(target)


def test_a_standby_that_receives_nothing_keeps_what_was_replaced(
    member: Member, target: Target
) -> None:
    restored(target)
    member.program("pg_ctl", "-w", "stop")
    (member.cluster.data / "standby.signal").touch()
    member.cluster.start()
    with pytest.raises(Refused, match="it is a replica that receives nothing"):
        restore.plan_discard(target)
    assert set_aside.found(member.cluster.data)
