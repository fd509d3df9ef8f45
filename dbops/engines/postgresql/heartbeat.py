"""The heartbeat: one row that the primary rewrites every few seconds.

Its age after a restore is the measured recovery point; its age on a standby is the lag in seconds.
Who beats also sees that the log goes to the archive in time. After a crash the server does not:
its checkpointer begins in recovery, where no ``archive_timeout`` counts, and then sleeps for up to
``checkpoint_timeout`` (CheckpointerMain in checkpointer.c).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
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
# Nothing where no log is archived by time, or where the account may not end a segment yet.
_LOG = """
SELECT pg_walfile_name(pg_current_wal_lsn()), seconds
FROM extract(epoch FROM current_setting('archive_timeout')::interval) AS seconds
WHERE seconds > 0 AND current_setting('archive_mode') <> 'off'
  AND has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE')"""
GRACE_SECONDS = 5.0
"""How much later than the server ought to end a segment it is ended from here."""
READ = "SELECT member, beat_at, sequence FROM dbops.heartbeat WHERE id = 1"


def heartbeat(target: Target, stop: Callable[[], bool]) -> None:
    """Write a row every interval while the local server is the primary, until ``stop()``.

    It rests on a standby and outlives every restart of the server; each change is logged once.
    Raises ConfigError only when the target is no member's.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    connect, beating = partial(_open, opts), _Beating(target.member)
    loop.run(connect, beating.beat, stop, opts.heartbeat_interval_seconds, client.explain)


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


@dataclass
class _Beating:
    """What is known from one beat to the next: which segment is written to, and since when.

    ``since`` is what this process saw; of one that has just begun it is long ago, so that the
    first beat ends the segment.
    """

    member: str
    segment: str = ""
    since: float = -math.inf

    def beat(self, connection: Connection) -> str:
        row = connection.execute(
            "SELECT pg_is_in_recovery(), to_regclass('dbops.heartbeat') IS NOT NULL"
        ).fetchone()
        if row is None or row[0]:
            return "standby"
        if not row[1]:
            connection.execute(_CREATE)
        connection.execute(_BEAT, [self.member])
        self.archive(connection)
        return "primary"

    def archive(self, connection: Connection) -> None:
        """End the segment when the server ought to have ended it."""
        now = time.monotonic()
        for segment, seconds in connection.execute(_LOG).fetchall():
            if self.segment and segment != self.segment:
                self.since = now
            self.segment = segment
            if now - self.since > float(seconds) + GRACE_SECONDS:
                connection.execute("SELECT pg_switch_wal()")
                self.since = now
