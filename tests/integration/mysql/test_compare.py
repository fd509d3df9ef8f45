"""A replica that drifted from its primary is found, at one GTID, while writers go on."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbops import status
from dbops.check import lines
from dbops.contract import MembersCompared
from dbops.engines.mysql import ENGINE, client, compare
from dbops.errors import CommandFailed
from dbops.monitor import samples
from dbops.targets import Objectives, Target
from tests.integration.mysql.pair import Pair

pytestmark = pytest.mark.integration


@pytest.fixture
def pair(programs: None, folder: Path) -> Iterator[Pair]:
    found = Pair(folder)
    found.primary.run(
        "CREATE USER b@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret') REQUIRE SSL",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, BINLOG MONITOR, SLAVE MONITOR, "
        "RELOAD ON *.* TO b@'127.0.0.1'",
        "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(60))",
        "INSERT INTO d.t (a) SELECT SHA1(seq) FROM d.seq_1_to_5000",
        "CREATE TABLE d.u (a INT PRIMARY KEY)",
        "INSERT INTO d.u VALUES (1), (2)",
    )
    found.wait()
    yield found
    found.stop()


@pytest.fixture
def target(pair: Pair, folder: Path) -> Target:
    (folder / "b.cnf").write_text('[client]\nuser=b\npassword="secret"\n')
    (folder / "b.cnf").chmod(0o600)
    return Target(
        schema_version=1,
        engine="mysql",
        cluster="c",
        part="repository",
        member="repo",
        version="10.11",
        members=("m1", "m2"),
        objectives=Objectives(rpo_seconds=60, rto_seconds=600),
        state_dir=folder / "state",
        options={
            "hosts": {"m1": pair.address(1), "m2": pair.address(2)},
            "port": pair.primary.options.port,
            "ca_file": str(folder / "tls" / "ca.crt"),
            "backup_file": str(folder / "b.cnf"),
            "repo_path": str(folder / "repo"),
        },
    )


def compared(target: Target) -> MembersCompared:
    assert ENGINE.compare_members is not None
    return ENGINE.compare_members(target, lambda text: None)


@pytest.fixture
def busy(pair: Pair) -> Iterator[Callable[[], int]]:
    """Write to the primary without a pause; return how often by now."""
    stop, done = threading.Event(), [0]

    def work() -> None:
        with pair.primary.connect() as connection:
            while not stop.is_set():
                client.rows(connection, "INSERT INTO d.t (a) VALUES (UUID())")
                done[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    yield lambda: done[0]
    stop.set()
    thread.join()


def test_equal_members_are_equal_while_writers_go_on(
    target: Target, busy: Callable[[], int]
) -> None:
    before = busy()
    found = compared(target)
    assert found.differences == {"m2": ()}
    assert found.skipped == {}
    assert busy() > before


def test_what_passed_the_log_by_is_found_on_either_side(pair: Pair, target: Target) -> None:
    pair.primary.run(
        "SET sql_log_bin = 0", "INSERT INTO d.t (a) VALUES ('unlogged')", "DELETE FROM d.u"
    )
    pair.replica.run("SET sql_log_bin = 0", "CREATE TABLE d.own (a INT)")
    differences = compared(target).differences["m2"]
    assert {(one.table, one.what) for one in differences} == {
        ("t", "rows"),
        ("u", "rows"),
        ("own", "unexpected table"),
    }


def asked() -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "dbops", "fingerprint", "--members"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_fails_and_check_and_metrics_tell(
    pair: Pair, target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "targets").mkdir()
    (folder / "targets" / "c.json").write_text(target.model_dump_json())
    (folder / "targets" / "c.json").chmod(0o640)
    monkeypatch.setenv("DBOPS_TARGETS_DIR", str(folder / "targets"))
    assert lines.members(target).ok
    done = asked()
    assert done.returncode == 0, done.stderr
    assert "every member of c has the same content" in done.stdout
    assert lines.members(target).ok
    pair.replica.run("SET sql_log_bin = 0", "UPDATE d.t SET a = 'drifted' WHERE id = 7")
    done = asked()
    assert done.returncode == 6, done.stderr
    assert "m2 differs from m1" in done.stdout
    line = lines.members(target)
    assert not line.ok
    assert "m2 differs in 1 places" in line.detail
    found = {
        one.name: one.value for one in samples.backups(status.read(target), "restic", ("full",), {})
    }
    assert found["dbops_members_last_result"] == 0
    assert found["dbops_members_differences"] == 1
    assert found["dbops_members_equal_timestamp_seconds"] > 0


def test_a_replica_that_does_not_follow_is_not_taken_for_equal(pair: Pair, target: Target) -> None:
    pair.replica.run("STOP SLAVE")
    assert "does not follow" in compared(target).skipped["m2"]


def test_a_replica_that_lags_does_not_hold_writers_up(
    pair: Pair, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "HELD_SECONDS", 1.0)
    with pair.replica.connect() as blocker:
        client.rows(blocker, "LOCK TABLES d.u WRITE")
        pair.primary.run("INSERT INTO d.u VALUES (9)")
        found = compared(target)
        pair.primary.run("INSERT INTO d.t (a) VALUES ('goes on')")
    assert "did not come to" in found.skipped["m2"]


def test_a_long_statement_lets_the_comparison_give_up(pair: Pair, target: Target) -> None:
    with pair.primary.connect() as blocker:
        client.rows(blocker, "LOCK TABLES d.u WRITE")
        with pytest.raises(CommandFailed, match="could not be held for a moment"):
            compared(target)
