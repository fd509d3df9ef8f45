"""The content of a server inside one snapshot: what there is, and each table's rows and definition.

Counted are the rows of tables whose engine keeps snapshots (InnoDB). Of other tables, views,
routines and events only the definition counts; sequences and the system's own databases do not.
:func:`left_out` names what is there and is not compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import pymysql

from dbops.engines.mysql import client, columns, flavor
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.client import name as quoted
from dbops.engines.mysql.columns import Column
from dbops.errors import CommandFailed
from dbops.manifest import Omission

_TABLES = (
    "SELECT table_schema, table_name, table_type, COALESCE(engine,''), "
    "COALESCE(data_length,0), create_time "
    "FROM information_schema.tables WHERE table_schema NOT IN "
    "('mysql','information_schema','performance_schema','sys') "
    "AND table_type <> 'SEQUENCE' AND table_type <> 'TEMPORARY'"
)
_SEQUENCES = (
    "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SEQUENCE' "
    "AND table_schema NOT IN ('mysql','information_schema','performance_schema','sys')"
)
_ACCOUNTS = Omission(
    database="",
    name="accounts, roles and privileges",
    kind="list of accounts",
    reason="a drill's server has accounts of its own",
)
_COLUMNS = (
    "SELECT table_schema, table_name, column_name, data_type, is_nullable, column_key "
    "FROM information_schema.columns WHERE table_schema NOT IN "
    "('mysql','information_schema','performance_schema','sys') "
    "AND extra NOT LIKE '%VIRTUAL%' ORDER BY table_schema, table_name, ordinal_position"
)
_DATABASES = (
    "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN "
    "('mysql','information_schema','performance_schema','sys')"
)
_TRIGGERS = (
    "SELECT event_object_schema, event_object_table, trigger_name, action_timing, "
    "event_manipulation, action_order, action_statement FROM information_schema.triggers "
    "WHERE trigger_schema NOT IN "
    "('mysql','information_schema','performance_schema','sys') ORDER BY 1, 2, 3"
)
_PROGRAMS = (
    "SELECT routine_schema, LOWER(routine_type), routine_name, "
    "CONCAT_WS('\\n', dtd_identifier, routine_definition, sql_data_access, security_type, "
    "definer) "
    "FROM information_schema.routines WHERE routine_schema NOT IN "
    "('mysql','information_schema','performance_schema','sys') UNION ALL "
    "SELECT event_schema, 'event', event_name, "
    "CONCAT_WS('\\n', event_definition, event_type, execute_at, interval_value, interval_field, "
    "definer) FROM information_schema.events WHERE event_schema NOT IN "
    "('mysql','information_schema','performance_schema','sys')"
)
_MOVED = (1412, 1146, 1051, 1205, 1932)
_TOO_LONG = 1301
_PIECE_BYTES = 128 * 1024 * 1024
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")


class MovedError(Exception):
    """The snapshot no longer holds for some table, because it was altered, dropped or locked."""


@dataclass(frozen=True)
class Table:
    """One table or view as the catalogue has it."""

    database: str
    name: str
    kind: str
    engine: str
    size: int
    created: datetime | None
    columns: tuple[Column, ...] = field(default=(), compare=False)

    @property
    def place(self) -> str:
        """The quoted name, with all its history where the table keeps one."""
        place = f"{quoted(self.database)}.{quoted(self.name)}"
        return f"{place} FOR SYSTEM_TIME ALL" if self.kind == "SYSTEM VERSIONED" else place


@dataclass(frozen=True)
class Piece:
    """A part of a table that one connection reads at once; ``where`` is empty for all of it."""

    table: Table
    where: str = ""


def prepare(connection: Connection) -> None:
    """Make values read alike on every server, and let no limit of the server end a long read."""
    client.rows(connection, flavor.of(connection).session)


def present(connection: Connection) -> frozenset[Table]:
    """Return every table and view that there is now."""
    found = client.rows(connection, _TABLES)
    return frozenset(Table(str(d), str(n), k, e, 0, t) for d, n, k, e, _, t in found)


def databases(connection: Connection) -> list[str]:
    """Return every database that is not the system's own."""
    return [
        str(n)
        for (n,) in client.rows(
            connection,
            _DATABASES,
        )
    ]


def listing(connection: Connection) -> list[Table]:
    """Return every table and view with its stored columns, the largest first."""
    fields: dict[tuple[str, str], list[Column]] = {}
    for database, table, column, kind, nullable, key in client.rows(connection, _COLUMNS):
        fields.setdefault((database, table), []).append(
            Column(str(column), str(kind).lower(), nullable == "YES", key == "PRI")
        )
    found = [
        Table(str(d), str(n), k, e, int(size), t, tuple(fields.get((d, n), ())))
        for d, n, k, e, size, t in client.rows(connection, _TABLES)
    ]
    return sorted(found, key=lambda one: (-one.size, one.database, one.name))


def counted(connection: Connection, tables: Sequence[Table]) -> list[Table]:
    """Return the tables whose rows a snapshot holds."""
    query = "SELECT engine FROM information_schema.engines WHERE transactions = 'YES'"
    engines = {str(name) for (name,) in client.rows(connection, query)}
    return [t for t in tables if t.engine in engines and t.kind != "VIEW"]


def left_out(
    connection: Connection, listed: Sequence[Table], counted: Sequence[Table]
) -> tuple[Omission, ...]:
    """Return what there is of which a fingerprint tells no rows."""
    found = [_ACCOUNTS]
    for table in listed:
        if table.kind == "VIEW" or table in counted:
            continue
        reason = "its engine keeps no snapshots, so its rows have no exact point"
        if table.engine == "MEMORY":
            reason = "its rows go when a server stops, so no backup has them"
        kind = f"{table.engine or 'broken'} table"
        found.append(Omission(database=table.database, name=table.name, kind=kind, reason=reason))
    for database, name in client.rows(connection, _SEQUENCES):
        reason = "its next value is that of now, not that of a snapshot"
        found.append(
            Omission(database=str(database), name=str(name), kind="sequence", reason=reason)
        )
    return tuple(found)


def pieces(connection: Connection, table: Table) -> list[Piece]:
    """Divide a large table by ranges of its key, when it has one that is a whole number."""
    key = columns.divisible(table.columns)
    count = table.size // _PIECE_BYTES
    if key is None or count < 2 or table.kind != "BASE TABLE":
        return [Piece(table)]
    column = quoted(key)
    ends = client.sql("SELECT MIN({c}), MAX({c}) FROM {place}", c=column, place=table.place)
    least, most = _ask(connection, table, ends)
    if least is None or int(most) - int(least) < count:
        return [Piece(table)]
    step = (int(most) - int(least)) // count + 1
    edges = [int(least) + step * number for number in range(1, count)]
    wheres = [f" WHERE {column} < {edges[0]}"]
    wheres += [f" WHERE {column} >= {a} AND {column} < {b}" for a, b in pairwise(edges)]
    wheres.append(f" WHERE {column} >= {edges[-1]}")
    return [Piece(table, where) for where in wheres]


def add_up(connection: Connection, piece: Piece) -> tuple[int, int]:
    """Return rows and sum of a piece; MovedError when the snapshot does not hold for its table."""
    table = piece.table
    summing = flavor.of(connection).summing
    query = columns.total(table.place, table.columns, piece.where, summing)
    count, total = _ask(connection, table, query)
    return int(count), int(total)


def _ask(connection: Connection, table: Table, query: str) -> client.Row:
    """Read in the snapshot and let go of the table's name at once: an ALTER may wait for it."""
    try:
        client.rows(connection, "SAVEPOINT dbops")
        found = client.rows(connection, query)[0]
        _complete(connection, table)
        client.rows(connection, "ROLLBACK TO SAVEPOINT dbops")
    except pymysql.Error as error:
        if error.args and error.args[0] in _MOVED:
            raise MovedError from None
        raise CommandFailed(
            f"Table {table.database}.{table.name} cannot be read whole for the fingerprint: "
            f"{client.reason(error)}."
        ) from None
    return found


def _complete(connection: Connection, table: Table) -> None:
    """A row that outgrew a packet is missing from the sum; the server only warns of it."""
    warned = client.rows(connection, "SHOW WARNINGS LIMIT 1")
    if any(int(code) == _TOO_LONG for _, code, _ in warned):
        raise CommandFailed(
            f"Table {table.database}.{table.name} has rows longer than the server's "
            "max_allowed_packet, which no fingerprint can read: raise that setting."
        )


def definitions(connection: Connection, tables: Sequence[Table]) -> dict[tuple[str, str], str]:
    """Return a checksum over each table's and view's definition, its triggers included."""
    triggers: dict[tuple[str, str], list[str]] = {}
    for database, table, *rest in client.rows(connection, _TRIGGERS):
        triggers.setdefault((database, table), []).append(repr(rest))
    found = {}
    for table in tables:
        kind = "VIEW" if table.kind == "VIEW" else "TABLE"
        place = f"{quoted(table.database)}.{quoted(table.name)}"
        text = _ask(connection, table, f"SHOW CREATE {kind} {place}")[1]
        lines = [_COUNTER.sub("", str(text)), *triggers.get((table.database, table.name), ())]
        found[table.database, table.name] = _digest(lines)
    return found


def programs(connection: Connection) -> dict[tuple[str, str], str]:
    """Return a checksum over each routine and event, by names such as ``procedure tidy``."""
    return {
        (str(database), f"{kind} {name}"): _digest([str(text)])
        for database, kind, name, text in client.rows(connection, _PROGRAMS)
    }


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
