"""The heartbeat: one row that the primary rewrites every few seconds.

Its age after a restore is the measured recovery point; its age on a standby is the lag in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from dbops.engines.postgresql import client, options
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.monitor import heartbeat as loop
from dbops.targets import Target

TABLE = "dbops.heartbeat"

_CREATE = """
CREATE TABLE IF NOT EXISTS dbops.heartbeat (
  id int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
  member text NOT NULL,
  beat_at timestamptz NOT NULL,
  sequence bigint NOT NULL)"""
_BEAT = """
INSERT INTO dbops.heartbeat AS h (member, beat_at, sequence) VALUES (%s, clock_timestamp(), 1)
ON CONFLICT (id) DO UPDATE
SET member = excluded.member, beat_at = clock_timestamp(), sequence = h.sequence + 1"""
READ = "SELECT member, beat_at, sequence FROM dbops.heartbeat WHERE id = 1"


def heartbeat(target: Target, stop: Callable[[], bool]) -> None:
    """Write a row every interval while the local server is the primary, until ``stop()``.

    It rests on a standby and outlives every restart of the server; each change is logged once.
    Raises ConfigError only when the target is no member's.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    connect, beat = partial(_open, opts), partial(_beat, target.member)
    loop.run(connect, beat, stop, opts.heartbeat_interval_seconds, client.explain)


def newest(connection: Connection) -> datetime | None:
    """Return the time of the newest beat that this server has, None when it has none."""
    row = connection.execute(READ).fetchone()
    return row[1] if row else None


def _open(opts: Options) -> Connection:
    connection = client.connect(
        opts, database="postgres", user=opts.heartbeat_user, statement_timeout_seconds=10
    )
    # A beat must never wait for a synchronous standby: its age is what shows that one is gone.
    connection.execute("SET synchronous_commit = local")
    return connection


def _beat(member: str, connection: Connection) -> str:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), to_regclass('dbops.heartbeat') IS NOT NULL"
    ).fetchone()
    if row is None or row[0]:
        return "standby"
    if not row[1]:
        connection.execute(_CREATE)
    connection.execute(_BEAT, [member])
    return "primary"
