"""MEMORY tables: their rows go with the server, so a backup holds the tables and not the rows.

A replay would end at the first change of a row that is not there. Meanwhile a table of the engine
BLACKHOLE stands in, which takes every change and keeps none. A server empties such a table when it
is first opened after a start and logs that, as a transaction that no other member has, which stops
a replica of MariaDB; so that one and a server of dbops's own open them where nothing is logged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pymysql

from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection
from dbops.errors import CommandFailed, DbopsError

ENGINE = "MEMORY"
_MARK = "dbops: stands in for MEMORY. "
_MOST_COMMENT = 2048
_LIST = (
    "SELECT table_schema, table_name FROM information_schema.tables WHERE engine = %s "
    "AND table_type = 'BASE TABLE' AND table_schema NOT IN "
    "('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2"
)
_COMMENT = (
    "SELECT table_comment FROM information_schema.tables WHERE table_schema = %s "
    "AND table_name = %s"
)
_MARKED = (
    "SELECT table_schema, table_name, engine, table_comment FROM information_schema.tables "
    "WHERE table_comment LIKE %s OR (engine = 'BLACKHOLE' AND table_type = 'BASE TABLE')"
)


@dataclass(frozen=True, order=True)
class Place:
    """A table's database and name."""

    database: str
    name: str

    @property
    def quoted(self) -> str:
        """The name as a statement has it."""
        return f"{client.name(self.database)}.{client.name(self.name)}"


def present(connection: Connection) -> list[Place]:
    """Return every table whose rows go with the server."""
    return [Place(str(a), str(b)) for a, b in client.rows(connection, _LIST, [ENGINE])]


def hush(connection: Connection) -> list[Place]:
    """Open each such table where nothing is logged, and return them; MySQL logs it all the same."""
    found = present(connection)
    client.rows(connection, "SET SESSION sql_log_bin = 0")
    for place in found:
        client.rows(connection, client.sql("SELECT 1 FROM {place} LIMIT 0", place=place.quoted))
    client.rows(connection, "SET SESSION sql_log_bin = 1")
    return found


def stand_in(connection: Connection) -> tuple[Place, ...]:
    """Let a table that takes every change stand in for each, and return them.

    Raises CommandFailed for one that cannot be.
    """
    found = hush(connection)
    client.rows(connection, "SET SESSION sql_log_bin = 0")
    for place in found:
        comment = str(client.value(connection, _COMMENT, [place.database, place.name]))
        marked = (_MARK + comment) if len(_MARK + comment) <= _MOST_COMMENT else comment
        _become(connection, place, "BLACKHOLE", marked)
    client.rows(connection, "SET SESSION sql_log_bin = 1")
    return tuple(found)


def put_back(connection: Connection, stood: Sequence[Place]) -> None:
    """Make what stood in, and what the log made of it, what it was; its rows are gone."""
    client.rows(connection, "SET SESSION sql_log_bin = 0")
    for database, name, engine, comment in client.rows(connection, _MARKED, [f"{_MARK}%"]):
        place, marked = Place(str(database), str(name)), str(comment).startswith(_MARK)
        if marked or place in stood:
            now = ENGINE if engine == "BLACKHOLE" else str(engine)
            _become(connection, place, now, str(comment).removeprefix(_MARK))
    client.rows(connection, "SET SESSION sql_log_bin = 1")


def _become(connection: Connection, place: Place, engine: str, comment: str) -> None:
    statement = client.sql(
        "ALTER TABLE {place} ENGINE = {engine}, COMMENT = {comment}",
        place=place.quoted,
        engine=engine,
        comment=connection.escape(comment),
    )
    try:
        client.rows(connection, statement)
    except pymysql.Error as error:
        raise CommandFailed(
            f"{ENGINE} table {place.database}.{place.name} cannot be left out of the replay: "
            f"{client.reason(error)}."
        ) from None


def lost(error: CommandFailed, stood: Sequence[Place]) -> CommandFailed:
    """Return the error of a replay, with the reason if it missed rows of one of the tables."""
    for place in stood:
        if f"on table {place.database}.{place.name};" in str(error):
            return CommandFailed(
                f"{place.database}.{place.name} was a {ENGINE} table in the backup, so no backup "
                "has its rows, and the log makes it a table of another engine and goes on with "
                "them: restore to a point before that, or from a backup that was taken after it."
            )
    return error


def main(given: Sequence[str] | None = None) -> int:
    """Empty a replica's MEMORY tables after its start where nothing is logged; 1 for a failure."""
    parser = argparse.ArgumentParser(prog="dbops-volatile")
    parser.add_argument("--socket", type=Path, required=True)
    asked = parser.parse_args(given)
    try:
        with client.over(asked.socket) as connection:
            hush(connection)
    except (DbopsError, pymysql.Error) as error:
        words = client.explain(error) or str(error)
        print(f"The {ENGINE} tables cannot be looked after: {words}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
