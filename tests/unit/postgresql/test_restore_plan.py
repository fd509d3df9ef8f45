"""Plans of a restore: which backup, which target, and every refusal, without a server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbops.contract import RestoreRequest
from dbops.engines.postgresql import options, pgbackrest, recovery, restore
from dbops.errors import ConfigError, DbopsError, Refused, VerificationFailed
from dbops.runner import Command, Completed, Plan, describe
from tests.unit.postgresql import made

FIRST = datetime.fromtimestamp(made.EPOCH, UTC)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> made.Repository:
    stands_in = made.Repository(made.info(), made.segments(0x10, 0x40), {})
    monkeypatch.setattr(pgbackrest, "ask", stands_in.ask)

    def version(command: Command) -> Completed:
        return Completed(0, "postgres (PostgreSQL) 15.20 (Debian)\n", "")

    monkeypatch.setattr(restore, "capture", version)
    return stands_in


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A data directory whose server was stopped."""
    directory = tmp_path / "main"
    directory.mkdir()
    (directory / "PG_VERSION").write_text("15\n", encoding="ascii")
    return directory


def plan(tmp_path: Path, request: RestoreRequest | None = None) -> Plan:
    return restore.plan_restore(made.target(tmp_path, "member"), request or RestoreRequest())


def command(steps: Plan) -> tuple[str, ...]:
    found = [step for step in steps if isinstance(step, Command) and "restore" in step.argv]
    return found[0].argv


def refusal(tmp_path: Path, request: RestoreRequest, error: type[DbopsError]) -> str:
    with pytest.raises(error) as caught:
        plan(tmp_path, request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_newest_starts_from_the_newest_backup(
    tmp_path: Path, repository: made.Repository, main: Path
) -> None:
    steps = plan(tmp_path)
    assert f"--set={made.SECOND}" in command(steps)
    assert "--type=default" in command(steps)
    lines = list(describe(steps))
    assert any("rename" in line and ".set-aside-" in line for line in lines)
    assert (main / "PG_VERSION").exists(), "making a plan changes nothing"


def test_without_former_data_nothing_is_set_aside(
    tmp_path: Path, repository: made.Repository
) -> None:
    assert not any("rename" in line for line in describe(plan(tmp_path)))


def test_a_time_starts_from_the_last_backup_before_it(
    tmp_path: Path, repository: made.Repository
) -> None:
    argv = command(plan(tmp_path, RestoreRequest(time=FIRST + timedelta(days=1, hours=3))))
    assert f"--set={made.INCREMENTAL}" in argv
    assert "--target=2026-11-02 04:00:00.000000+00" in argv
    assert "--target-action=promote" in argv


def test_a_position_stops_before_its_record(tmp_path: Path, repository: made.Repository) -> None:
    argv = command(plan(tmp_path, RestoreRequest(point="0/25000000")))
    assert {f"--set={made.INCREMENTAL}", "--type=lsn", "--target-exclusive"} <= set(argv)


def test_a_name_starts_from_the_oldest_backup(tmp_path: Path, repository: made.Repository) -> None:
    assert f"--set={made.FULL}" in command(plan(tmp_path, RestoreRequest(name="before release")))


@pytest.mark.parametrize("days", [-1, 400])
def test_the_window_is_named(tmp_path: Path, repository: made.Repository, days: int) -> None:
    words = refusal(tmp_path, RestoreRequest(time=FIRST + timedelta(days=days)), ConfigError)
    assert "from 2026-11-01T01:01:00Z to 2026-11-04T01:00:00Z" in words


@pytest.mark.parametrize(
    "request_",
    [
        RestoreRequest(backup_id="-rf"),
        RestoreRequest(backup_id="../../etc/cron.d/x"),
        RestoreRequest(backup_id=f"{made.FULL}\n"),
        RestoreRequest(backup_id="$(id)"),
        RestoreRequest(backup_id="20200101-000000F"),
        RestoreRequest(point="a;touch x"),
        RestoreRequest(point="0/1"),
        RestoreRequest(point="FFFF/0"),
        RestoreRequest(name="it's"),
        RestoreRequest(name="a\nb"),
        RestoreRequest(name=""),
        RestoreRequest(time=datetime(2026, 11, 2)),
        RestoreRequest(name="a", point="0/25000000"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, repository: made.Repository, request_: RestoreRequest
) -> None:
    refusal(tmp_path, request_, ConfigError)


def test_a_hole_is_an_error_for_the_newest(tmp_path: Path, repository: made.Repository) -> None:
    repository.segments = made.segments(0x10, 0x40, missing=0x35)
    words = refusal(tmp_path, RestoreRequest(), VerificationFailed)
    assert "000000010000000000000035" in words
    argv = command(plan(tmp_path, RestoreRequest(point="0/34000000")))
    assert f"--set={made.SECOND}" in argv, "a point before the hole can be reached"
    refusal(tmp_path, RestoreRequest(point="0/36000000"), VerificationFailed)


def test_an_abandoned_timeline_is_left_unless_asked_for(
    tmp_path: Path, repository: made.Repository
) -> None:
    repository.segments |= made.segments(0x28, 0x2A, timeline=2)
    repository.histories = {2: "1\t0/28000100\tbefore LSN\n"}
    assert f"--set={made.INCREMENTAL}" in command(plan(tmp_path))
    argv = command(plan(tmp_path, RestoreRequest(backup_id=made.SECOND)))
    assert "--target-timeline=current" in argv


def test_a_newer_version_is_named(
    tmp_path: Path, repository: made.Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.info_text = made.info().replace('"version": "15"', '"version": "17"')
    words = refusal(tmp_path, RestoreRequest(), ConfigError)
    assert "17" in words
    assert "15" in words


def test_a_running_server_is_left_alone(
    tmp_path: Path, repository: made.Repository, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (main / "postmaster.pid").write_text(f"{os.getpid()}\n{main}\n", encoding="ascii")
    monkeypatch.chdir(main)
    assert "running" in refusal(tmp_path, RestoreRequest(), Refused)


def test_a_process_id_left_by_a_crash_does_not_count(
    tmp_path: Path, repository: made.Repository, main: Path
) -> None:
    (main / "postmaster.pid").write_text(f"{os.getpid()}\n{main}\n", encoding="ascii")
    plan(tmp_path)


def test_a_directory_that_is_something_else_is_left_alone(
    tmp_path: Path, repository: made.Repository
) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "thesis.txt").write_text("precious", encoding="ascii")
    assert "not a PostgreSQL data directory" in refusal(tmp_path, RestoreRequest(), Refused)


def test_another_part_cannot_restore(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="member host"):
        restore.plan_restore(made.target(tmp_path), RestoreRequest())


def test_only_what_a_restore_set_aside_is_discarded(
    tmp_path: Path, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "receives", lambda opts: True)
    aside = tmp_path / "main.set-aside-20261101T010000Z"
    for path in (aside, tmp_path / "main.set-aside-mine", tmp_path / "other"):
        path.mkdir()
    (tmp_path / "main.set-aside-20261101T010001Z").symlink_to(tmp_path / "other")
    steps = restore.plan_discard(made.target(tmp_path, "member"))
    assert list(describe(steps)) == [f"remove {aside} for good"]


def test_nothing_is_discarded_before_the_restore_is_proven(tmp_path: Path, main: Path) -> None:
    (tmp_path / "main.set-aside-20261101T010000Z").mkdir()
    with pytest.raises(Refused, match="nothing is removed"):
        restore.plan_discard(made.target(tmp_path, "member"))


def test_segments_of_former_timelines_are_never_pushed_again(tmp_path: Path) -> None:
    status = tmp_path / "main" / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    for name in ("0000000200000000000000F0", "0000000400000000000000F1", "00000004.history"):
        (status.parent / name).touch()
    (status / "0000000200000000000000F0.ready").touch()
    (status / "0000000400000000000000F1.ready").touch()
    opts = options.read(made.target(tmp_path, "member"))
    recovery.settle_archive(opts, 4)
    assert sorted(path.name for path in status.iterdir()) == [
        "0000000200000000000000F0.done",
        "0000000400000000000000F1.ready",
    ]
