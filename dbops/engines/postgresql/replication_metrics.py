"""Samples of replication and archiving that stay right when the link is cut.

Lag in seconds is the age of the newest heartbeat that this member has replayed: it goes on growing
whatever the link does. Lag in bytes is measured while the link is up; while it is cut, it is the
last known distance plus the rate at which log came in before, marked by ``_known`` 0. The primary's
view of each slot is exact, and stays when the standby is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg

from dbops.contract import Sample
from dbops.engines.postgresql import heartbeat
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.wal import SEGMENT_BYTES, split_segment
from dbops.monitor import samples
from dbops.monitor.target import Link, Seen
from dbops.targets import Target

SILENCE_SECONDS = 35.0
"""A walreceiver asks for a sign of life after half of its time limit, which is 60 s by default."""

_STANDBY = """
SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::float8,
  (SELECT pg_wal_lsn_diff(greatest(latest_end_lsn, flushed_lsn), '0/0')::float8
   FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  (SELECT extract(epoch FROM last_msg_receipt_time)::float8
   FROM pg_stat_wal_receiver WHERE status = 'streaming')"""
_SLOTS = """
SELECT s.slot_name,
  coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(r.replay_lsn, s.restart_lsn)), 0)::float8,
  s.active
FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
WHERE s.slot_type = 'physical'"""
_ARCHIVER = """
SELECT last_archived_wal,
  last_archived_time IS NOT NULL,
  coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
  archived_count::float8, failed_count::float8,
  pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8
FROM pg_stat_archiver"""


_seen: dict[tuple[str, str], Seen] = {}


def beat(connection: Connection) -> float | None:
    """Return the time of the newest heartbeat, None when there is none to be had."""
    try:
        found = heartbeat.newest(connection)
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.InvalidSchemaName,
    ):
        return None
    return found.timestamp() if found else None


def link(target: Target, connection: Connection, beat_at: float) -> Link | None:
    """Return how the member that ``connection`` goes to follows the primary, None if it is one."""
    if not is_standby(connection):
        return None
    found = connection.execute(_STANDBY).fetchone()
    assert found is not None
    seen = _seen.setdefault((target.cluster, target.member), Seen())
    return standby(found, beat_at, seen, time.time())


def is_standby(connection: Connection) -> bool:
    """Return whether the server is in recovery."""
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    return row is None or bool(row[0])


def standby(row: tuple[Any, ...], beat_at: float, seen: Seen, now: float) -> Link:
    """Return a standby's link; ``seen`` carries what was known while it was up."""
    replayed, end, contact = row
    if contact is not None and now - contact < SILENCE_SECONDS:
        return seen.measured(replayed, seen.end if end is None else end, contact)
    return seen.estimated(replayed, contact or 0.0, beat_at, now)


def collect(target: Target, connection: Connection) -> Iterator[Sample]:
    """Yield what the primary alone knows: its slots and its archiver."""
    if is_standby(connection):
        yield from pending(0.0, known=False)
        return
    yield from slots(target, connection.execute(_SLOTS).fetchall())
    archiver = connection.execute(_ARCHIVER).fetchone()
    assert archiver is not None
    yield from archiver_samples(archiver)


def slots(target: Target, rows: list[tuple[Any, ...]]) -> Iterator[Sample]:
    """Yield how far behind the standby of each slot is."""
    for name, behind, active in rows:
        labels = (("source", target.member), ("replica", str(name)))
        yield Sample(
            "dbops_replication_slot_lag_bytes",
            max(0.0, behind),
            labels,
            "Log written here that the slot's standby has not replayed or received.",
        )
        yield Sample(
            "dbops_replication_slot_active",
            float(bool(active)),
            labels,
            "Whether the slot's standby is connected.",
        )


def archiver_samples(row: tuple[Any, ...]) -> Iterator[Sample]:
    """Yield how much log waits to be archived, and how archiving went."""
    name, known, failing, archived, failed, position = row
    try:
        # The newest archived file may be a backup's label or a history file as well.
        end = float((split_segment(str(name)[:24])[1] + 1) * SEGMENT_BYTES)
    except ValueError:
        end, known = 0.0, False
    yield from pending(max(0.0, position - end), bool(known))
    yield Sample(
        "dbops_archive_failing",
        float(failing),
        (),
        "Whether the newest attempt to archive log failed.",
    )
    yield Sample("dbops_archived_segments_total", archived, (), "Segments archived.", "counter")
    yield Sample("dbops_archive_failures_total", failed, (), "Failed attempts.", "counter")


def pending(size: float, known: bool) -> Iterator[Sample]:
    """Yield what is not in the archive yet; not known on a standby, which archives nothing."""
    text = "Log written here that is not archived yet."
    yield Sample("dbops_archive_pending_bytes", size, (), text)
    yield Sample("dbops_archive_pending_bytes_known", float(known), (), samples.KNOWN)
