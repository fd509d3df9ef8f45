"""Programs of a MySQL: libraries, routines, views, triggers and events, and how they are kept.

Their text is their users' own, to the last byte, so no client may ever look in it for where a
statement ends. In a backup they stand before the dump, one line of JSON each; a restore gives each
to the server as one statement (:mod:`.recreate`). What is *not* here: the dump (:mod:`.stream`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

import pymysql

from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection
from dbops.errors import CommandFailed, VerificationFailed

MOST_BYTES = 1 << 28
"""How long all programs of a server may be, so that neither end has to keep more of them."""
MARK = b"dbops-programs 1 "
"""What a stream begins with; the length of the programs follows, and then they do."""
HEAD_BYTES = len(MARK) + 10
_SERVERS_OWN = "('information_schema', 'performance_schema', 'sys', 'ndbinfo')"
_ROUTINES = "routine_schema, routine_name FROM information_schema.routines"
_LISTS = (
    ("LIBRARY", "library_schema, library_name FROM information_schema.libraries", "library_name"),
    ("FUNCTION", _ROUTINES, "routine_name"),
    ("PROCEDURE", _ROUTINES, "routine_name"),
    ("VIEW", "table_schema, table_name FROM information_schema.views", "table_name"),
    (
        "TRIGGER",
        "trigger_schema, trigger_name FROM information_schema.triggers",
        "event_object_table, action_timing, event_manipulation, action_order",
    ),
    ("EVENT", "event_schema, event_name FROM information_schema.events", "event_name"),
)
_STATEMENTS = ("SQL Original Statement", "Create ")


@dataclass(frozen=True)
class Program:
    """One program: the bytes of its CREATE statement, and the session that they mean this in.

    ``database_collation`` is what the database had when it was made, empty where it has no part.
    """

    kind: str
    schema: str
    name: str
    statement: bytes
    sql_mode: str = ""
    character_set: str = "utf8mb4"
    collation: str = "utf8mb4_0900_ai_ci"
    database_collation: str = ""
    time_zone: str = ""

    def words(self) -> str:
        """Return what to call it in a sentence."""
        return f"{self.kind.lower()} {self.schema!r}.{self.name!r}"


def collect(connection: Connection) -> Iterator[Program]:
    """Yield every program, each after those that must be there before it, but for other views.

    Raises CommandFailed for a view that nothing could make again, because what it is made of is
    gone, and for a program that the account may not read.
    """
    client.rows(connection, "SET SESSION sql_mode = '', sql_quote_show_create = 1")
    for kind, schema, name in _names(connection):
        yield _program(connection, kind, schema, name)


def _names(connection: Connection) -> list[tuple[str, str, str]]:
    found = []
    for kind, what, order in _LISTS:
        schema = what.split(",")[0]
        only = f" AND routine_type = '{kind}'" if "routine_" in schema else ""
        query = (
            f"SELECT {what} WHERE {schema} NOT IN {_SERVERS_OWN}{only} ORDER BY {schema}, {order}"
        )
        found += [(kind, str(a), str(b)) for a, b in client.rows(connection, query)]
    return found


def _program(connection: Connection, kind: str, schema: str, name: str) -> Program:
    where = {"schema": client.name(schema), "name": client.name(name)}
    if kind == "VIEW":
        _require_whole(connection, schema, name)
    query = client.sql("SHOW CREATE {kind} {schema}.{name}", kind=kind, **where)
    row = _shown(connection, query)
    statement = next((found for title, found in row.items() if title.startswith(_STATEMENTS)), None)
    if statement is None:
        raise CommandFailed(
            f"{kind.capitalize()} {schema!r}.{name!r} is not shown to the account of backups: "
            "run secure again."
        )
    return Program(
        kind=kind,
        schema=schema,
        name=name,
        statement=statement,
        sql_mode=_text(row.get("sql_mode")),
        character_set=_text(row.get("character_set_client")) or "utf8mb4",
        collation=_text(row.get("collation_connection")) or "utf8mb4_0900_ai_ci",
        database_collation=_text(row.get("Database Collation")),
        time_zone=_text(row.get("time_zone")),
    )


def _shown(connection: Connection, query: str) -> dict[str, bytes | None]:
    """Return the row as the server has it: neither side puts a text in another character set."""
    client.rows(connection, "SET SESSION character_set_results = NULL")
    connection.use_unicode = False
    try:
        (row,) = client.records(connection, query)
    finally:
        connection.use_unicode = True
        client.rows(connection, "SET SESSION character_set_results = utf8mb4")
    return row


def _require_whole(connection: Connection, schema: str, name: str) -> None:
    """A view is made again only where what it is made of is there."""
    where = client.sql("{schema}.{name}", schema=client.name(schema), name=client.name(name))
    try:
        client.rows(connection, f"SHOW COLUMNS FROM {where}")
    except pymysql.Error as error:
        raise CommandFailed(
            f"View {schema!r}.{name!r} cannot be backed up, for it does not work: "
            f"{client.reason(error)}. Mend or drop it."
        ) from None


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def pack(found: Iterable[Program]) -> bytes:
    """Return the programs as a stream begins with them; CommandFailed when they are too many."""
    lines, size = [], 0
    for one in found:
        statement = base64.b64encode(one.statement).decode("ascii")
        line = json.dumps(asdict(one) | {"statement": statement}).encode("ascii") + b"\n"
        size += len(line)
        if size > MOST_BYTES:
            raise CommandFailed(
                f"The server's programs are more than {MOST_BYTES >> 20} MiB, which no backup "
                "takes: look who makes routines or views without end."
            )
        lines.append(line)
    return MARK + b"%010d" % size + b"\n" + b"".join(lines)


def unpack(text: bytes) -> Iterator[Program]:
    """Yield the programs of the lines after the mark; VerificationFailed for anything else."""
    for number, line in enumerate(text.splitlines(), 1):
        with suppress(ValueError, TypeError, LookupError, AttributeError):
            fields = json.loads(line)
            statement = base64.b64decode(fields.pop("statement"), validate=True)
            if all(isinstance(field, str) for field in fields.values()):
                yield Program(statement=statement, **fields)
                continue
        raise VerificationFailed(f"Line {number} of the backup's programs is not one of them.")
