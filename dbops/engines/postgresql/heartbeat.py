"""The heartbeat: one row that the primary rewrites every few seconds.

Its age after a restore is the measured recovery point; its age on a standby is the lag in seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import psycopg

from dbops.engines.postgresql import client, options
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import DbopsError
from dbops.targets import Target

LOG = logging.getLogger("dbops.heartbeat")
TABLE = "dbops.heartbeat"
BACKOFF_LIMIT_SECONDS = 15.0

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
    interval = opts.heartbeat_interval_seconds
    state = ""
    pause = interval
    connection: Connection | None = None
    try:
        while not stop():
            began = time.monotonic()
            try:
                connection = connection or _open(opts)
                now = _beat(connection, target.member)
                pause = interval
            except (psycopg.Error, DbopsError) as error:
                now = f"waiting: {_why(error)}"
                pause = min(BACKOFF_LIMIT_SECONDS, max(interval, pause * 1.5))
                _close(connection)
                connection = None
            if now != state:
                LOG.log(logging.INFO if now in ("primary", "standby") else logging.WARNING, now)
                state = now
            _sleep(pause - (time.monotonic() - began), stop)
    finally:
        _close(connection)


def _open(opts: Options) -> Connection:
    connection = client.connect(
        opts, database="postgres", user=opts.heartbeat_user, statement_timeout_seconds=10
    )
    # A beat must never wait for a synchronous standby: its age is what shows that one is gone.
    connection.execute("SET synchronous_commit = local")
    return connection


def _beat(connection: Connection, member: str) -> str:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), to_regclass('dbops.heartbeat') IS NOT NULL"
    ).fetchone()
    if row is None or row[0]:
        return "standby"
    if not row[1]:
        connection.execute(_CREATE)
    connection.execute(_BEAT, [member])
    return "primary"


def _why(error: Exception) -> str:
    return client.reason(error) if isinstance(error, psycopg.Error) else str(error)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.2, left))
