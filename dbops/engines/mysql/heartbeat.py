"""The heartbeat: a row on the primary that is written every few seconds, and its age on a replica.

The role makes the table; a replica is only watched. What is *not* here: the metrics made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from dbops.engines.mysql import client, events, members, options
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.client import name as quoted
from dbops.engines.mysql.options import Options
from dbops.monitor import heartbeat as loop
from dbops.targets import Target

TABLE = "heartbeat"
_WRITE = (
    "INSERT INTO {table} (id, member, beat_at, sequence) VALUES (1, %s, UTC_TIMESTAMP(6), 1) "
    "ON DUPLICATE KEY UPDATE member = %s, beat_at = UTC_TIMESTAMP(6), sequence = sequence + 1"
)
_READ = "SELECT beat_at FROM {table} WHERE id = 1"


def heartbeat(target: Target, stop: Callable[[], bool]) -> None:
    """Beat until ``stop()``: on the primary a row is written, a replica is only looked at."""
    options.require_part(target, "member")
    opts = options.read(target)
    connect, beat = partial(_open, opts), partial(_beat, opts, target.member)
    loop.run(connect, beat, stop, opts.heartbeat_interval_seconds, client.explain)


def _open(opts: Options) -> Connection:
    connection = client.local(opts, opts.agent_user, timeout_seconds=10)
    client.rows(connection, "SET SESSION time_zone = '+00:00'")
    return connection


def _beat(opts: Options, member: str, connection: Connection) -> str:
    if members.standing(connection).role == "replica":
        return "replica"
    statement = client.sql(_WRITE, table=place(opts.heartbeat_schema))
    client.rows(connection, statement, [member, member])
    events.note(connection, opts.heartbeat_schema)
    return "primary"


def place(schema: str) -> str:
    """Return the quoted name of the table."""
    return f"{quoted(schema)}.{quoted(TABLE)}"


def newest(connection: Connection, schema: str) -> datetime | None:
    """Return the time of the last beat, None when there is none yet."""
    client.rows(connection, "SET SESSION time_zone = '+00:00'")
    found = client.value(connection, client.sql(_READ, table=place(schema)))
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) else None
