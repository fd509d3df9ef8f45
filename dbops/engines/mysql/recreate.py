"""Making programs again in a restored MySQL: one statement each, which no client takes apart.

The server reads each as it was written: in its SQL mode, its character set, its time zone. What is
*not* here: what programs are and how a backup keeps them (:mod:`.programs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pymysql

from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.programs import Program
from dbops.errors import CommandFailed, VerificationFailed

_BEFORE_VIEWS = ("LIBRARY", "FUNCTION", "PROCEDURE")
_AFTER_VIEWS = ("TRIGGER", "EVENT")
_PLAIN = (
    "SET SESSION character_set_client = utf8mb4, character_set_results = utf8mb4, "
    "collation_connection = utf8mb4_0900_ai_ci, sql_mode = '', sql_log_bin = 0, "
    "time_zone = '+00:00'"
)


def make(connection: Connection, found: Iterable[Program]) -> None:
    """Make every program, in no log; the session is then as other work wants it.

    Raises CommandFailed for the first that the server refuses, in its words.
    """
    kept: dict[str, list[Program]] = {}
    for one in found:
        kept.setdefault(one.kind, []).append(one)
    if unknown := set(kept) - {*_BEFORE_VIEWS, "VIEW", *_AFTER_VIEWS}:
        raise VerificationFailed(f"The backup holds programs of an unknown kind {min(unknown)!r}.")
    (former,) = client.rows(connection, "SELECT @@SESSION.sql_mode, @@SESSION.time_zone")
    for kind in _BEFORE_VIEWS:
        _each(connection, kept.get(kind, ()))
    _views(connection, kept.get("VIEW", []))
    for kind in _AFTER_VIEWS:
        _each(connection, kept.get(kind, ()))
    client.rows(connection, _PLAIN)
    query = "SET SESSION sql_mode = %s, time_zone = %s, sql_log_bin = 1"
    client.rows(connection, query, former)


def _each(connection: Connection, found: Iterable[Program]) -> None:
    for one in found:
        try:
            _make(connection, one)
        except pymysql.Error as error:
            raise _refused(one, error) from None


def _views(connection: Connection, found: list[Program]) -> None:
    """Make views in any order that works: one may be made of others."""
    while found:
        left, trouble = [], None
        for one in found:
            try:
                _make(connection, one)
            except pymysql.Error as error:
                left.append(one)
                trouble = trouble or _refused(one, error)
        if trouble is not None and len(left) == len(found):
            raise trouble
        found = left


def _make(connection: Connection, one: Program) -> None:
    if not one.statement.startswith(b"CREATE "):
        raise VerificationFailed(f"What the backup holds of {one.words()} does not make one.")
    client.rows(connection, _PLAIN)
    connection.select_db(one.schema)
    with _as_it_was(connection, one):
        client.rows(
            connection,
            "SET SESSION sql_mode = %s, time_zone = %s, collation_connection = %s, "
            "character_set_client = %s",
            [one.sql_mode, one.time_zone or "SYSTEM", one.collation, one.character_set],
        )
        try:
            # In its own character set, which the driver has no part in.
            connection.query(one.statement)
        finally:
            client.rows(connection, _PLAIN)


@contextmanager
def _as_it_was(connection: Connection, one: Program) -> Iterator[None]:
    """Give its database the collation that a program was made under, while it is made."""
    now = str(client.value(connection, "SELECT @@collation_database"))
    other = one.database_collation not in ("", now)
    if other:
        _collate(connection, one.schema, one.database_collation)
    try:
        yield
    finally:
        if other:
            _collate(connection, one.schema, now)


def _collate(connection: Connection, schema: str, collation: str) -> None:
    query = client.sql("ALTER DATABASE {schema} COLLATE %s", schema=client.name(schema))
    client.rows(connection, query.replace("%s", client.name(collation)))


def _refused(one: Program, error: pymysql.Error) -> CommandFailed:
    return CommandFailed(
        f"The restored server does not take {one.words()}: {client.reason(error)}."
    )
