"""MEMORY tables: what changed their rows stops no restore, no drill and no replica."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.engines.mysql import (
    ENGINE,
    checks_member,
    client,
    private_server,
    replay,
    restore,
    volatile,
)
from dbops.engines.mysql.volatile import Place
from dbops.errors import VerificationFailed
from dbops.runner import check
from dbops.targets import Target
from tests.integration.mysql import test_programs as mysql
from tests.integration.mysql.machine import Member
from tests.integration.mysql.pair import Pair, count
from tests.integration.mysql.site import Site
from tests.integration.mysql.test_drill import drill, run

__all__ = ["drill", "place"]
place = mysql.place

pytestmark = pytest.mark.integration

_TABLES = (
    "SELECT table_name, engine, table_comment FROM information_schema.tables "
    "WHERE table_schema = 'd' ORDER BY 1"
)
_MAKE = (
    "CREATE TABLE d.mem (a INT PRIMARY KEY, b VARCHAR(20), KEY k USING BTREE (b), "
    "KEY h USING HASH (b, a)) ENGINE = MEMORY MAX_ROWS = 1000 COMMENT 'sessions'",
    "CREATE TABLE d.moved (a INT PRIMARY KEY) ENGINE = MEMORY",
    "CREATE TABLE d.gone (a INT PRIMARY KEY) ENGINE = MEMORY",
    "CREATE TABLE d.kept (a INT PRIMARY KEY) ENGINE = MEMORY",
    "CREATE TRIGGER d.g BEFORE INSERT ON d.mem FOR EACH ROW SET NEW.b = CONCAT(NEW.b, 't')",
    "INSERT INTO d.mem VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "INSERT INTO d.moved VALUES (1), (2)",
    "INSERT INTO d.gone VALUES (1), (2)",
    "INSERT INTO d.kept VALUES (1), (2)",
)
_CHANGE = (
    "UPDATE d.mem SET b = 'x' WHERE a = 1",
    "DELETE FROM d.mem WHERE a = 2",
    "BEGIN",
    "INSERT INTO d.t (a) VALUES ('between')",
    "DELETE FROM d.mem",
    "UPDATE d.t SET a = 'after' WHERE a = 'between'",
    "COMMIT",
    "ALTER TABLE d.mem ADD COLUMN c INT",
    "INSERT INTO d.mem VALUES (4, 'd', 1)",
    "RENAME TABLE d.moved TO d.moved2",
    "DELETE FROM d.moved2 WHERE a = 1",
    "CREATE TABLE d.alike LIKE d.mem",
    "DROP TABLE d.gone",
    "CREATE TABLE d.fresh (a INT PRIMARY KEY) ENGINE = MEMORY",
    "INSERT INTO d.fresh VALUES (1), (2)",
    "DELETE FROM d.fresh WHERE a = 1",
)


def test_a_restore_goes_past_what_changed_their_rows(site: Site) -> None:
    site.member.run("INSTALL SONAME 'ha_blackhole'", "CREATE TABLE d.hole (a INT) ENGINE=BLACKHOLE")
    site.member.run(*_MAKE)
    with site.following():
        site.take()
        site.member.run(*_CHANGE, "FLUSH BINARY LOGS")
        site.take("log")
    shown = [site.member.rows(f"SHOW CREATE TABLE d.{name}") for name in ("mem", "alike", "kept")]
    tables = site.member.rows(_TABLES)
    rows = site.member.rows("CHECKSUM TABLE d.t")
    site.restore()
    assert site.member.rows(_TABLES) == tables
    assert [
        site.member.rows(f"SHOW CREATE TABLE d.{name}") for name in ("mem", "alike", "kept")
    ] == shown
    assert site.member.rows("CHECKSUM TABLE d.t") == rows


def test_a_drill_proves_what_is_beside_them(site: Site, drill: Target) -> None:
    site.member.run(*_MAKE)
    with site.following():
        site.take()
        site.member.run(*_CHANGE, "FLUSH BINARY LOGS")
        site.beat()
        site.take("log")
    result = run(drill)
    assert result.proven, result.reason


def test_rows_that_the_log_goes_on_with_elsewhere_are_told_to_be_gone(site: Site) -> None:
    site.member.run(*_MAKE)
    with site.following():
        site.take()
        site.member.run(
            "ALTER TABLE d.mem ENGINE = InnoDB",
            "UPDATE d.mem SET b = 'x' WHERE a = 1",
            "FLUSH BINARY LOGS",
        )
        site.take("log")
    with pytest.raises(VerificationFailed, match=r"d\.mem was a MEMORY table in the backup"):
        site.restore()


@pytest.fixture
def pair(programs: None, folder: Path) -> Iterator[Pair]:
    found = Pair(folder)
    yield found
    found.stop()


def test_a_replica_that_was_restarted_writes_nothing_of_its_own(pair: Pair) -> None:
    pair.primary.run(*_MAKE, "CREATE TABLE d.i (a INT PRIMARY KEY)")
    pair.wait()
    pair.replica.stop()
    pair.replica.start("--read-only=1", "--skip-slave-start")
    before = pair.replica.position()
    with pair.replica.connect() as connection:
        assert Place("d", "mem") in volatile.hush(connection)
        client.rows(connection, "SELECT * FROM d.mem")
    assert pair.replica.position() == before
    pair.primary.run("INSERT INTO d.i VALUES (1)")
    pair.replica.run("START SLAVE")
    pair.wait()
    assert count(pair.replica, "d.i") == 1


def test_mysql_lets_blackhole_stand_in(place: mysql.Place) -> None:
    at = place.server("m")
    check(private_server.initialize(at))
    with private_server.running(at, 60), at.connect() as connection:
        for statement in ("CREATE DATABASE d", *_MAKE):
            client.rows(connection, statement)
    with private_server.running(at, 60), at.connect() as connection:
        position = replay.reached(connection)
        replay.seed(connection, position)
        stood = volatile.stand_in(connection)
        assert len(stood) == 4
        shown = client.rows(connection, "SHOW CREATE TABLE d.mem")
        assert "ENGINE=BLACKHOLE" in str(shown)
        volatile.put_back(connection, stood)
        shown = client.rows(connection, "SHOW CREATE TABLE d.mem")
        assert "ENGINE=MEMORY" in str(shown)
        assert "COMMENT='sessions'" in str(shown)
        assert replay.reached(connection) == position


def test_a_database_that_is_left_out_of_the_log_is_named(programs: None, folder: Path) -> None:
    member = Member(folder / "m", more="binlog-ignore-db = left").install().start()
    with member.connect() as connection:
        found = checks_member.whole(connection)
    member.stop()
    assert not found.ok
    assert found.detail == "Binlog_Ignore_DB = left"


def test_nothing_starts_what_a_restore_left_half_way(site: Site) -> None:
    """The unit asserts that the mark is not there; a second restore takes it away."""
    mark = site.member.data.with_name(site.member.data.name + restore.UNFINISHED)
    site.member.run(*_MAKE)
    with site.following():
        manifest = site.take()
        site.member.run(
            "ALTER TABLE d.mem ENGINE = InnoDB",
            "UPDATE d.mem SET b = 'x' WHERE a = 1",
            "FLUSH BINARY LOGS",
        )
        site.take("log")
    with pytest.raises(VerificationFailed, match="ended before its point"):
        site.restore()
    assert "did not end" in mark.read_text()
    shutil.rmtree(site.member.data / "mysql")  # as if it had ended while files were put back
    assert ENGINE.plan_restore is not None
    site.member.stop()
    runner.run(
        ENGINE.plan_restore(site.restored, RestoreRequest(name=f"dbops_{manifest.backup_id}")),
        on_line=lambda line: None,
    )
    assert not mark.exists()
