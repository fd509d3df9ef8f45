"""The drill: what it refuses, what it fetches, and its scratch server."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbops.contract import DrillRequest
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.engines.postgresql import drill, private_server, refill, wal
from dbops.engines.postgresql.pgbackrest import StoredBackup
from dbops.engines.postgresql.private_server import Scratch
from dbops.errors import CommandFailed, ConfigError, Refused, Unreachable, VerificationFailed
from dbops.manifest import Manifest
from dbops.targets import Objectives, Target

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OBJECTIVES = Objectives(rpo_seconds=60, rto_seconds=600)


def make_target(tmp_path: Path, part: str = "drill") -> Target:
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": "postgresql",
            "cluster": "flights",
            "part": part,
            "member": "drill1",
            "version": "15",
            "members": ["pg1"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path),
            "options": {
                "stanza": "flights",
                "bin_dir": "/nowhere",
                "scratch_dir": str(tmp_path / "scratch"),
                "hosts": {"pg1": "192.0.2.1"},
            },
        }
    )


def test_only_a_drill_host_drills(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        drill.run_drill(make_target(tmp_path, "member"), DrillRequest(), lambda words: None)


def test_without_isolation_nothing_else_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Cell) -> str:
        raise VerificationFailed("Isolation is not proven: it sees eth0.")

    monkeypatch.setattr(Cell, "prove", refuse)

    result = drill.run_drill(make_target(tmp_path), DrillRequest(), lambda words: None)

    assert not result.proven
    assert result.reason == "Isolation is not proven: it sees eth0."
    assert [step.name for step in result.steps] == ["isolation", "clean-up"]
    assert result.rto_seconds is None


@pytest.mark.parametrize(
    "error", [CommandFailed("The tool broke."), OSError(28, "No space left on device", "/x")]
)
def test_whatever_breaks_is_a_result_and_the_scratch_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cleaned: list[Path] = []

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Cell, "prove", lambda self: "alone")
    monkeypatch.setattr(refill, "choose", broken)
    monkeypatch.setattr(scratch, "remove", lambda root, stop: cleaned.append(root))

    result = drill.run_drill(make_target(tmp_path), DrillRequest(), lambda words: None)

    assert not result.proven
    assert result.reason.endswith(".")
    assert "Traceback" not in result.reason
    assert len(cleaned) == 1


def test_an_interrupted_drill_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[Path] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cell, "prove", lambda self: "alone")
    monkeypatch.setattr(refill, "choose", interrupt)
    monkeypatch.setattr(scratch, "remove", lambda root, stop: cleaned.append(root))

    with pytest.raises(KeyboardInterrupt):
        drill.run_drill(make_target(tmp_path), DrillRequest(), lambda words: None)
    assert len(cleaned) == 1


def make_stored(error: bool = False) -> StoredBackup:
    return StoredBackup(
        label="20260301-010000F",
        kind="full",
        prior=None,
        start=NOW,
        stop=NOW,
        start_lsn="0/2000028",
        stop_lsn="0/2000100",
        start_segment="000000010000000000000002",
        stop_segment="000000010000000000000002",
        size=1000,
        read=1000,
        stored=500,
        error=error,
        tool_version="2.45",
        database_id=1,
    )


def make_manifest(**changes: object) -> Manifest:
    return Manifest.model_validate(
        {
            "engine": "postgresql",
            "version": "15",
            "cluster": "flights",
            "member": "pg1",
            "backup_id": "20260301-010000F",
            "kind": "full",
            "parent_id": None,
            "start": NOW,
            "stop": NOW,
            "start_point": "0/2000028",
            "stop_point": "0/2000100",
            "bytes_read": 1,
            "bytes_stored": 1,
            "encrypted": True,
            "tool": "pgbackrest",
            "tool_version": "2.45",
            "dbops_version": "0.1.0",
            **changes,
        }
    )


FINGERPRINT = {
    "algorithm": "postgresql-row-hash-1",
    "point": "0/5000000",
    "timeline": 1,
    "taken_at": NOW,
    "seconds": 1,
    "bytes_read": 1,
    "databases": [],
}


def test_what_cannot_be_proven_is_refused() -> None:
    for stored, manifest, word in (
        (make_stored(), None, "no manifest"),
        (make_stored(error=True), make_manifest(fingerprints=[FINGERPRINT]), "damaged"),
    ):
        with pytest.raises(VerificationFailed, match=word):
            refill.provable(stored, manifest)


def test_a_log_that_ends_before_the_fingerprint_names_the_segment() -> None:
    log = refill.Log(("000000010000000000000002",), 1, (), NOW, {})
    supply = refill.Supplies(make_stored(), make_manifest(fingerprints=[FINGERPRINT]), log)

    with pytest.raises(VerificationFailed, match="000000010000000000000005"):
        refill.check_reach(supply)


def make_scratch(root: Path) -> Scratch:
    return Scratch(root, Path("/nowhere"), "nobody", 5432, Cell("nobody", (), root))


def test_a_folder_that_is_not_a_drills_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")

    with pytest.raises(Refused, match="no drill"):
        scratch.remove(tmp_path, lambda: None)
    assert (tmp_path / "precious").exists()


def test_a_link_in_place_of_the_scratch_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".dbops-scratch").touch()
    (tmp_path / "scratch").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Refused):
        scratch.remove(tmp_path / "scratch", lambda: None)
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a b", "a$(id)", "a;b", "a\nb", "../x"])
def test_a_scratch_path_that_a_shell_would_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="scratch_dir"):
        private_server.create(make_scratch(tmp_path / name))


def test_standby_limits_are_never_below_the_primarys() -> None:
    found = private_server.limits(
        {
            "max_connections setting": "500",
            "max_worker_processes setting": "2",
            "max_prepared_xacts setting": "7",
            "max_locks_per_xact setting": "128",
            "wal_level setting": "logical",
        }
    )

    assert found == {
        "max_connections": 500,
        "max_worker_processes": 8,
        "max_wal_senders": 10,
        "max_prepared_transactions": 7,
        "max_locks_per_transaction": 128,
    }


def test_the_log_position_of_the_last_segment_is_required() -> None:
    assert wal.split_segment("000000010000000000000005")[1] * wal.SEGMENT_BYTES == 0x5000000


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    place = make_scratch(tmp_path)
    place.data.mkdir()
    place.socket_dir.mkdir()
    os.mkfifo(place.data / "postmaster.pid")
    place.log.symlink_to("/dev/zero")

    assert not private_server._ready(place)
    assert private_server.log_text(place) == ""


def test_a_server_that_runs_and_cannot_be_asked_is_not_waited_for_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Scratch, database: str, user: str = "") -> None:
        raise Unreachable("PostgreSQL does not answer: Permission denied.")

    monkeypatch.setattr(Scratch, "connect", refuse)
    monkeypatch.setattr(private_server, "alive", lambda place: True)
    monkeypatch.setattr(private_server, "_SILENCE_SECONDS", 0.05)

    with pytest.raises(VerificationFailed, match="Permission denied"):
        private_server.wait(make_scratch(tmp_path), "open", lambda connection: True, 60)


def test_a_server_that_ends_while_it_is_waited_for_gives_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_scratch(tmp_path)
    place.socket_dir.mkdir()
    place.log.write_text("12:00 UTC [1] LOG:  x\n12:00 UTC [1] FATAL:  recovery ended too early\n")
    monkeypatch.setattr(private_server, "alive", lambda place: False)

    with pytest.raises(VerificationFailed, match="recovery ended too early"):
        private_server.wait(place, "open", lambda connection: True, 60)
