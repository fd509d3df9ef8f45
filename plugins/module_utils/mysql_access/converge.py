"""The whole run: look, change what differs, and look again until nothing does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pymysql

from .catalog import Reader
from .catalog_mysql import MysqlReader
from .declaration import Declaration, load
from .dialect import MYSQL, Dialect, of
from .names import AccessError
from .plan import Step, difference, plan, undeclared

LOCK = "dbops_access"
LOCK_SECONDS = 10
PASSES = 3


def converge(socket: str, parameters: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Bring the server to what is declared, or with ``check`` only tell what that would take.

    Raises AccessError with one sentence. A change of accounts is no transaction here: what was done
    before an error stays, and the next run goes on from there.
    """
    with _connection(socket) as connection:
        reader = _reader(connection)
        if reader.rows(reader.dialect.replica):
            raise AccessError("This server is a replica; access is set on the primary.")
        wanted = load(parameters, reader.levels(), reader.dialect)
        steps = plan(reader.everything(), wanted)
        if steps and not check:
            steps = _change(connection, reader, wanted)
        return _report(steps, [str(name) for name in undeclared(reader.everything(), wanted)])


@contextmanager
def _connection(socket: str) -> Iterator[Any]:
    try:
        connection = pymysql.connect(
            unix_socket=socket,
            user="root",
            charset="utf8mb4",
            connect_timeout=10,
            autocommit=True,
        )
    except pymysql.MySQLError as error:
        raise AccessError(f"The server: {_said(error)}.") from None
    try:
        yield connection
    except pymysql.MySQLError as error:
        raise AccessError(f"The server: {_said(error)}.") from None
    finally:
        connection.close()


def _reader(connection: Any) -> Reader:
    dialect = of(str(Reader(connection).rows("SELECT VERSION()")[0][0]))
    with connection.cursor() as cursor:
        cursor.execute(dialect.session)
    return MysqlReader(connection) if dialect is MYSQL else Reader(connection)


def _change(connection: Any, reader: Reader, wanted: Declaration) -> list[Step]:
    if reader.rows(f"SELECT GET_LOCK('{LOCK}', {LOCK_SECONDS})")[0][0] != 1:
        raise AccessError("Another run changes access at this moment: try again when it is done.")
    done: list[Step] = []
    for _ in range(PASSES):
        steps = plan(reader.everything(), wanted)
        if not steps:
            return done
        for step in steps:
            _execute(connection, step, wanted.dialect)
        done += steps
    left = plan(reader.everything(), wanted)
    if left:
        raise AccessError(f"The server did not accept this change: {left[0].line}.")
    return done


def _execute(connection: Any, step: Step, dialect: Dialect) -> None:
    try:
        with connection.cursor() as cursor:
            if step.oracle:
                cursor.execute("SET SESSION sql_mode = 'ORACLE'")
            cursor.execute(step.statement)
            if step.oracle:
                cursor.execute(dialect.session)
    except pymysql.MySQLError as error:
        raise AccessError(f"Could not {step.line}: {_said(error)}.") from None


def _said(error: Exception) -> str:
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return text.rstrip(".")


def _report(steps: list[Step], left: list[str]) -> dict[str, Any]:
    return {
        "changed": bool(steps),
        "changes": [step.line for step in steps],
        "statements": [step.shown or step.statement for step in steps],
        "undeclared": left,
        "diff": difference(steps),
    }
