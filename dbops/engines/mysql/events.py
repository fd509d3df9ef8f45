"""Events that run by themselves: exactly once, on the primary, and as their users left them.

A replica has every event switched off, and does not tell which of them were on: that, the primary
writes down beside its heartbeat, in a table that every member and every backup has. A new primary
switches on by it what was on. What is *not* here: events across a replay (:mod:`.scheduled`), and
the scheduler itself, which the role lets run on the primary only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql
from pymysql.charset import charset_by_name
from pymysql.constants import ER

from dbops.engines.mysql import client, scheduled
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.scheduled import ELSEWHERE, OFF, ON, Key
from dbops.errors import DbopsError

TABLE, PROCEDURE = "events", "note_events"
_TABLE = """CREATE TABLE IF NOT EXISTS {place} (
  event_schema VARCHAR(64) NOT NULL,
  event_name VARCHAR(64) NOT NULL,
  status VARCHAR(18) NOT NULL,
  server_id INT UNSIGNED NOT NULL,
  PRIMARY KEY (event_schema, event_name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"""
_SEEN = (
    "(SELECT CONVERT(event_schema USING utf8mb4) COLLATE utf8mb4_bin AS event_schema, "
    "CONVERT(event_name USING utf8mb4) COLLATE utf8mb4_bin AS event_name, originator, "
    "CONVERT(REPLACE(status, 'REPLICA_SIDE', 'SLAVESIDE') USING utf8mb4) COLLATE utf8mb4_bin "
    "AS status FROM information_schema.events)"
)
# What another one switched off here tells nothing; only who wrote a state down may say that its
# event is off for being another server's.
_BODY = """BEGIN
  DELETE noted FROM {place} noted LEFT JOIN {seen} seen USING (event_schema, event_name)
    WHERE seen.event_name IS NULL;
  REPLACE INTO {place} SELECT seen.event_schema, seen.event_name, seen.status, @@GLOBAL.server_id
    FROM {seen} seen LEFT JOIN {place} noted USING (event_schema, event_name)
    WHERE (seen.status <> '{elsewhere}' OR (seen.originator = @@GLOBAL.server_id
        AND COALESCE(noted.server_id, seen.originator) = @@GLOBAL.server_id))
      AND (noted.status IS NULL OR noted.status <> seen.status
        OR noted.server_id <> @@GLOBAL.server_id);
END"""
_NO_RECORD = (ER.NO_SUCH_TABLE, ER.BAD_DB_ERROR, ER.SP_DOES_NOT_EXIST, ER.PROCACCESS_DENIED_ERROR)
_MADE_AS = (
    "SELECT event_name, definer, sql_mode, time_zone, character_set_client, collation_connection "
    "FROM information_schema.events WHERE event_schema = %s AND event_name = %s"
)
_SWITCH = {ON: "ENABLE", OFF: "DISABLE", ELSEWHERE: "DISABLE ON SLAVE"}


def prepare(connection: Connection, schema: str) -> bool:
    """Make what the primary writes states down with; return whether it was not there as it is."""
    where = client.name(schema)
    place = f"{where}.{client.name(TABLE)}"
    body = client.sql(_BODY, place=place, seen=_SEEN, elsewhere=ELSEWHERE)
    query = (
        "SELECT routine_definition FROM information_schema.routines "
        "WHERE routine_schema = %s AND routine_name = %s"
    )
    if client.value(connection, query, [schema, PROCEDURE]) == body:
        return False
    client.rows(connection, client.sql(_TABLE, place=place))
    name = f"{where}.{client.name(PROCEDURE)}"
    client.rows(connection, client.sql("DROP PROCEDURE IF EXISTS {name}", name=name))
    client.rows(
        connection,
        client.sql("CREATE PROCEDURE {name}() SQL SECURITY DEFINER {body}", name=name, body=body),
    )
    return True


def note(connection: Connection, schema: str) -> None:
    """Let the primary write down which events are on; nothing where :func:`prepare` was not."""
    name = f"{client.name(schema)}.{client.name(PROCEDURE)}"
    try:
        client.rows(connection, client.sql("CALL {name}()", name=name))
    except pymysql.Error as error:
        if not error.args or error.args[0] not in _NO_RECORD:
            raise


def noted(connection: Connection, schema: str) -> dict[Key, str]:
    """Return the states that a primary wrote down."""
    place = f"{client.name(schema)}.{client.name(TABLE)}"
    query = client.sql("SELECT event_schema, event_name, status FROM {place}", place=place)
    try:
        found = client.rows(connection, query)
    except pymysql.Error as error:
        if error.args and error.args[0] in _NO_RECORD:
            return {}
        raise
    return {(str(a), str(b).casefold()): str(status) for a, b, status in found}


def stranded(connection: Connection, schema: str) -> Iterator[tuple[str, str | None]]:
    """Yield what is off for being another server's, against its user: name, and its state there.

    The state is None for one that nobody wrote down.
    """
    known = noted(connection, schema)
    for key, state in sorted(scheduled.states(connection).items()):
        if state == ELSEWHERE and known.get(key) != ELSEWHERE:
            yield f"{key[0]}.{key[1]}", known.get(key)


def settle(connection: Connection, schema: str) -> list[str]:
    """Give each event that is off for being another server's the state written down; name them.

    Nothing is written to the log: to each replica it stays another server's.
    """
    before, wanted = scheduled.states(connection), noted(connection, schema)
    scheduled.mend(connection, wanted, switch)
    after = scheduled.states(connection)
    return [
        f"{key[0]}.{key[1]} is {after[key]}" for key in sorted(after) if after[key] != before[key]
    ]


@contextmanager
def resting(connection: Connection) -> Iterator[None]:
    """Let no event begin while the block runs."""
    was = client.value(connection, "SELECT @@GLOBAL.event_scheduler")
    if was == "ON":
        client.rows(connection, "SET GLOBAL event_scheduler = OFF")
    try:
        yield
    finally:
        if was == "ON":
            client.rows(connection, "SET GLOBAL event_scheduler = ON")


def running(connection: Connection) -> list[str]:
    """Return the events that run by themselves now."""
    if client.value(connection, "SELECT @@GLOBAL.event_scheduler") != "ON":
        return []
    return [
        f"{a}.{b}" for (a, b), state in sorted(scheduled.states(connection).items()) if state == ON
    ]


def leave_to_the_other(connection: Connection, schemas: Sequence[str]) -> None:
    """Mark the events of some databases as another server's, in no log."""
    client.rows(connection, "SET SESSION sql_log_bin = 0")
    for (schema, name), state in scheduled.states(connection).items():
        if schema in schemas and state != ELSEWHERE:
            switch(connection, schema, name, ELSEWHERE)
    client.rows(connection, "SET SESSION sql_log_bin = 1")


def switch(connection: Connection, schema: str, name: str, state: str) -> None:
    """Give an event its state and nothing else: ALTER makes it the session's in all it can."""
    ((exact, definer, mode, zone, charset, collation),) = client.rows(
        connection, _MADE_AS, [schema, name]
    )
    user, _, host = str(definer).rpartition("@")
    statement = client.sql(
        "ALTER DEFINER = {user} EVENT {schema}.{name} {state}",
        user=f"{client.name(user)}@{client.name(host)}" if host else client.name(user),
        schema=client.name(schema),
        name=client.name(str(exact)),
        state=_SWITCH[state],
    )
    (former,) = client.rows(connection, "SELECT @@SESSION.sql_mode, @@SESSION.time_zone")
    try:
        query = "SET SESSION sql_mode = %s, time_zone = %s, collation_connection = %s, "
        query += "character_set_client = %s"
        client.rows(connection, query, [mode, zone, collation, charset])
        # As a client with that character set would send it; the driver has no part in it.
        connection.query(statement.encode(charset_by_name(str(charset)).encoding or "utf-8"))
    finally:
        client.rows(connection, "SET NAMES utf8mb4")
        client.rows(connection, "SET SESSION sql_mode = %s, time_zone = %s", former)


def main(given: Sequence[str] | None = None) -> int:
    """Prepare a primary, or settle a new one, and tell what was changed; 1 for what failed."""
    parser = argparse.ArgumentParser(prog="dbops-events")
    parser.add_argument("what", choices=["prepare", "settle"])
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--schema", default="dbops")
    asked = parser.parse_args(given)
    try:
        with client.over(asked.socket) as connection:
            if asked.what == "settle":
                print("\n".join(settle(connection, asked.schema)), end="")
            elif prepare(connection, asked.schema):
                print("made")
    except (DbopsError, pymysql.Error) as error:
        words = client.explain(error) or str(error)
        print(f"The events cannot be looked after: {words}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
