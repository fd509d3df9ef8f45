"""Events run exactly once, on the primary, and those that their users switched off do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.engines.mysql import client, events, heartbeat, private_server
from dbops.runner import check
from tests.integration.mysql.machine import Member
from tests.integration.mysql.pair import Pair, count, until
from tests.integration.mysql.site import Site
from tests.integration.mysql.test_programs import Place, place

__all__ = ["place"]

pytestmark = pytest.mark.integration

_AS_MADE = (
    "SELECT event_name, definer, event_definition, sql_mode, time_zone, starts, event_comment, "
    "character_set_client, collation_connection, database_collation FROM "
    "information_schema.events ORDER BY 1"
)
_STATES = "SELECT event_name, status FROM information_schema.events WHERE event_schema = 'd'"


@pytest.fixture
def pair(programs: None, folder: Path) -> Iterator[Pair]:
    found = Pair(folder)
    yield found
    found.stop()


def prepare(member: Member) -> None:
    """Make the table of states, and the heartbeat's account as the role grants it."""
    with member.connect() as connection:
        assert events.prepare(connection, "dbops")
        assert not events.prepare(connection, "dbops")
    member.run(
        "CREATE TABLE IF NOT EXISTS dbops.heartbeat (id TINYINT UNSIGNED PRIMARY KEY, "
        "member VARCHAR(63), beat_at TIMESTAMP(6) NULL, sequence BIGINT UNSIGNED)",
        "CREATE USER dbops@localhost IDENTIFIED BY 'agent'",
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, EXECUTE ON dbops.* TO dbops@localhost",
        "GRANT PROCESS, SLAVE MONITOR ON *.* TO dbops@localhost",
    )


def beat(member: Member) -> None:
    """Let the heartbeat beat once, by its own account."""
    with client.Connection(
        unix_socket=str(member.socket), user="dbops", password="agent", autocommit=True
    ) as agent:
        heartbeat._beat(member.options, "m", agent)


def states(member: Member) -> dict[str, str]:
    return {str(name): str(state) for name, state in member.rows(_STATES)}


def settle(member: Member) -> list[str]:
    with member.connect() as connection:
        return events.settle(connection, "dbops")


def stranded(member: Member) -> dict[str, str | None]:
    with member.connect() as connection:
        return dict(events.stranded(connection, "dbops"))


def make(member: Member) -> None:
    member.run(
        "CREATE TABLE IF NOT EXISTS d.t (at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))",
        "CREATE USER u@localhost",
        "GRANT ALL ON d.* TO u@localhost",
        "CREATE EVENT d.on ON SCHEDULE EVERY 1 HOUR DO INSERT INTO d.t VALUES ()",
        "CREATE EVENT d.off ON SCHEDULE EVERY 1 HOUR DISABLE DO INSERT INTO d.t VALUES ()",
        "CREATE EVENT d.else ON SCHEDULE EVERY 1 HOUR DISABLE ON SLAVE DO SELECT 1",
        "SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', collation_connection = "
        "latin1_german1_ci, character_set_client = latin1",
        "CREATE DEFINER = u@localhost EVENT d.odd ON SCHEDULE EVERY 1 HOUR COMMENT 'x' "
        'DO SELECT "a" FROM d.t',
    )


def test_what_was_on_is_on_after_a_switchover_and_after_the_way_back(pair: Pair) -> None:
    prepare(pair.primary)
    make(pair.primary)
    beat(pair.primary)
    was, as_made = states(pair.primary), pair.primary.rows(_AS_MADE)
    assert was == {
        "on": "ENABLED",
        "off": "DISABLED",
        "else": "SLAVESIDE_DISABLED",
        "odd": "ENABLED",
    }
    for _ in range(2):
        pair.wait()
        pair.turn()
        beat(pair.primary)  # before anything was mended: it must not be written down as it is
        assert set(stranded(pair.primary).values()) <= {"ENABLED", "DISABLED"}
        settle(pair.primary)
        assert states(pair.primary) == was
        assert pair.primary.rows(_AS_MADE) == as_made
        assert stranded(pair.primary) == {}
        assert settle(pair.primary) == []
        beat(pair.primary)
    pair.primary.run("ALTER EVENT d.on DISABLE", "ALTER EVENT d.odd DISABLE ON SLAVE")
    beat(pair.primary)
    was = states(pair.primary)
    pair.turn()
    settle(pair.primary)
    assert states(pair.primary) == was


def test_an_event_that_nobody_wrote_down_is_left_off_and_named(pair: Pair) -> None:
    prepare(pair.primary)
    pair.primary.run("CREATE EVENT d.late ON SCHEDULE EVERY 1 HOUR DO SELECT 1")
    pair.turn()
    beat(pair.primary)
    assert settle(pair.primary) == []
    assert stranded(pair.primary) == {"d.late": None}
    pair.primary.run("ALTER EVENT d.late ENABLE")
    assert stranded(pair.primary) == {}


def test_a_primary_that_stands_down_runs_no_event_past_read_only(pair: Pair) -> None:
    """Root may write where others may not, and so may what root scheduled."""
    pair.primary.run(
        "CREATE TABLE d.t (a INT)",
        "CREATE PROCEDURE d.p() BEGIN DO SLEEP(1); INSERT INTO d.t VALUES (1); END",
        "CREATE EVENT d.e ON SCHEDULE EVERY 1 SECOND DO CALL d.p()",
        "SET GLOBAL event_scheduler = ON",
    )
    until(lambda: count(pair.primary, "d.t") > 1)
    first, last = pair.stand_down().splitlines()
    assert first == "ON"
    assert pair.primary.value("SELECT @@GLOBAL.event_scheduler") == "OFF"
    running = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Connect'"
    assert pair.primary.value(f"{running} AND USER = 'root'") == 0
    assert pair.primary.position() == last
    pair.wait()
    assert count(pair.replica, "d.t") == count(pair.primary, "d.t")


def test_an_event_that_does_not_end_is_ended(pair: Pair) -> None:
    pair.primary.run(
        "CREATE EVENT d.e ON SCHEDULE AT NOW() DO DO SLEEP(600)",
        "SET GLOBAL event_scheduler = ON",
    )
    query = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(600)'"
    until(lambda: pair.primary.value(f"{query} AND COMMAND = 'Connect'") == 1)
    pair.stand_down()
    assert pair.primary.value(f"{query} AND COMMAND = 'Connect'") == 0


def test_a_backup_of_a_replica_comes_back_with_its_events_as_they_were(site: Site) -> None:
    """As a replica's data have it: all events are another server's."""
    prepare(site.member)
    make(site.member)
    beat(site.member)
    was = states(site.member)
    site.member.run(
        "SET sql_log_bin = 0",
        "UPDATE mysql.event SET status = 'SLAVESIDE_DISABLED', originator = 7",
    )
    with site.following():
        site.take()
        site.member.run("FLUSH BINARY LOGS")
        site.take("log")
    site.restore()
    assert states(site.member) == was


def test_mysql_switches_on_what_was_on(place: Place) -> None:
    at = place.server("m")
    check(private_server.initialize(at))
    with private_server.running(at, 60), at.connect() as connection:
        for statement in (
            "CREATE DATABASE dbops",
            "CREATE DATABASE d",
            "CREATE USER u@localhost IDENTIFIED WITH auth_socket",
            "CREATE EVENT d.on ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
            "CREATE EVENT d.off ON SCHEDULE EVERY 1 HOUR DISABLE DO SELECT 1",
            "SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', character_set_client = "
            "latin1, collation_connection = latin1_german1_ci",
            "CREATE DEFINER = u@localhost EVENT d.odd ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
            "SET NAMES utf8mb4",
        ):
            client.rows(connection, statement)
        assert events.prepare(connection, "dbops")
        assert not events.prepare(connection, "dbops")
        events.note(connection, "dbops")
        was = client.rows(connection, _STATES)
        # As if this were the replica 2, and server 7 had made them.
        client.rows(connection, "SET GLOBAL server_id = 7")
        for name in ("on", "off"):
            client.rows(connection, f"ALTER EVENT d.{name} DISABLE ON REPLICA")
        client.rows(connection, "SET SESSION time_zone = '+05:00', character_set_client = latin1")
        client.rows(connection, "ALTER DEFINER = u@localhost EVENT d.odd DISABLE ON REPLICA")
        client.rows(connection, "SET NAMES utf8mb4")
        as_made = client.rows(connection, _AS_MADE)
        client.rows(connection, "SET GLOBAL server_id = 2")
        events.note(connection, "dbops")
        assert len(dict(events.stranded(connection, "dbops"))) == 3
        assert len(events.settle(connection, "dbops")) == 3
        assert client.rows(connection, _STATES) == was
        assert client.rows(connection, _AS_MADE) == as_made
        assert list(events.stranded(connection, "dbops")) == []
