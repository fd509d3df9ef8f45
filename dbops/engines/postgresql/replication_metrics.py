"""Samples of replication and archiving that stay right when the link is cut.

Lag in seconds is the age of the newest heartbeat that this member has replayed: it goes on growing
whatever the link does. Lag in bytes is measured while the link is up; while it is cut, it is the
last known distance plus the rate at which log came in before, marked by ``_known`` 0. The primary's
view of each slot is exact, and stays when the standby is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from dbops.contract import Sample
from dbops.engines.postgresql import heartbeat
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.wal import SEGMENT_BYTES, split_segment
from dbops.monitor import samples
from dbops.targets import Target

SILENCE_SECONDS = 35.0
"""A walreceiver asks for a sign of life after half of its time limit, which is 60 s by default."""

_STANDBY = """
SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0'), 0)::float8,
  (SELECT pg_wal_lsn_diff(greatest(latest_end_lsn, flushed_lsn), '0/0')::float8
   FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  (SELECT extract(epoch FROM last_msg_receipt_time)::float8
   FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  (SELECT sender_host FROM pg_stat_wal_receiver)"""
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


@dataclass
class Seen:
    """What was last known of the source while the link was up. Times are seconds since 1970."""

    contact: float = 0.0
    end: float = 0.0
    rate: float = 0.0


_seen: dict[tuple[str, str], Seen] = {}


def collect(target: Target, options: Options, connection: Connection) -> Iterator[Sample]:
    """Yield role, lag, link and archiving of the member that ``connection`` goes to."""
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    standby = row is None or bool(row[0])
    for role, held in (("primary", not standby), ("replica", standby)):
        yield Sample("dbops_role", float(held), (("role", role),), "Whether it holds this role.")
    beat = _beat(connection)
    age = max(0.0, time.time() - beat) if beat is not None else 0.0
    yield Sample("dbops_heartbeat_age_seconds", age, (), "Age of the newest heartbeat here.")
    yield Sample("dbops_heartbeat_known", float(beat is not None), (), "Whether there is one.")
    if standby:
        found = connection.execute(_STANDBY).fetchone()
        assert found is not None
        seen = _seen.setdefault((target.cluster, target.member), Seen())
        yield from standby_samples(found, beat, seen, time.time())
        yield from pending(0.0, known=False)
    else:
        yield from primary_samples(target, connection.execute(_SLOTS).fetchall())
        archiver = connection.execute(_ARCHIVER).fetchone()
        assert archiver is not None
        yield from archiver_samples(archiver)


def unknown() -> Iterator[Sample]:
    """Yield what is said when the server does not answer; the values stay as they were."""
    for name in ("replication_lag_seconds", "replication_lag_bytes", "archive_pending_bytes"):
        yield Sample(f"dbops_{name}_known", 0.0, (), samples.KNOWN)


def _beat(connection: Connection) -> float | None:
    try:
        row = connection.execute(heartbeat.READ).fetchone()
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.InvalidSchemaName,
    ):
        return None
    return float(row[1].timestamp()) if row else None


def standby_samples(
    row: tuple[Any, ...], beat: float | None, seen: Seen, now: float
) -> Iterator[Sample]:
    """Yield a standby's lag and link; ``seen`` carries what was known while the link was up."""
    replayed, end, contact, _ = row
    up = contact is not None and now - contact < SILENCE_SECONDS
    if up and end is not None:
        if seen.contact and contact > seen.contact:
            seen.rate = max(0.0, (end - seen.end) / (contact - seen.contact))
        seen.contact, seen.end = contact, end
        lag_bytes = max(0.0, end - replayed)
    else:
        since = max(0.0, now - (seen.contact or beat or now))
        lag_bytes = max(1.0, seen.end - replayed, 0.0) + seen.rate * since
    last = max(seen.contact, contact or 0.0) or beat or 0.0
    yield from samples.lag(now - beat if beat is not None else 0.0, lag_bytes, beat is not None, up)
    yield from samples.link(up, last)


def primary_samples(target: Target, slots: list[tuple[Any, ...]]) -> Iterator[Sample]:
    """Yield a primary's own zeros and how far behind the standby of each slot is."""
    yield from samples.lag(0.0, 0.0, True, True)
    yield from samples.link(True, time.time())
    for name, behind, active in slots:
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
