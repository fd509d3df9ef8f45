"""The proof that both sides of a migration hold the same, while applications write to one of them.

All that is needed is one moment at which both can be read alike. A marker row makes it: on the
receiving side its table is locked, so what is received stops exactly at the marker's transaction;
on the sending side the marker is committed while a lock holds writers, for some milliseconds, and
a snapshot is taken under the same lock. Then both go on, and the snapshots are read at leisure.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg

from dbops.engines.postgresql import migrate_link as link
from dbops.engines.postgresql import tables
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import CommandFailed
from dbops.manifest import DatabaseFingerprint, Fingerprint
from dbops.migrate.steps import Compared

ATTEMPTS = 8
REACH_LIMIT_SECONDS = 300
# Shorter than deadlock_timeout (1 s), so that no application is ever the victim of our locks.
HOLD_LIMIT_MILLISECONDS = 700


def compared(opts: Options, database: str, tell: Callable[[str], None]) -> Compared:
    """Return every table of ``database`` on both sides, at one moment.

    Raises CommandFailed when no moment was found.
    """
    with link.here(opts, database) as ours, link.there(opts, database) as theirs:
        held_seconds, own, other = _moment(opts, database, ours, theirs, tell)
        tell(f"{database}: reading {len(own)} tables on both sides")
        with ThreadPoolExecutor(2) as pool:
            expected = pool.submit(tables.digest, theirs, database, other)
            found = pool.submit(tables.digest, ours, database, own)
            sides = _whole(expected.result()[0]), _whole(found.result()[0])
    return Compared(database, *sides, held_seconds)


def _whole(one: DatabaseFingerprint) -> Fingerprint:
    return Fingerprint(
        algorithm=tables.ALGORITHM,
        point="",
        taken_at=datetime.now(UTC),
        seconds=0,
        bytes_read=0,
        databases=(one,),
    )


def _moment(
    opts: Options,
    database: str,
    ours: Connection,
    theirs: Connection,
    tell: Callable[[str], None],
) -> tuple[float, list[tables.Table], list[tables.Table]]:
    """Open a snapshot on each side, of the same content.

    Return for how many seconds writers were held, and the tables here and there.
    """
    for attempt in range(ATTEMPTS):
        try:
            with _stopped_at_marker(opts, database) as reached:
                other, held_seconds = _mark(opts, database, theirs)
                reached()
                own = _fixed(ours)
        except (tables.MovedError, psycopg.errors.QueryCanceled):
            tell(f"{database}: a table was locked by somebody: attempt {attempt + 2}")
            for connection in (ours, theirs):
                connection.execute("ROLLBACK")
            time.sleep(0.5 * (attempt + 1))
            continue
        tell(f"{database}: writers waited for {held_seconds * 1000:.0f} ms")
        return held_seconds, own, other
    raise CommandFailed(
        f"No moment was found at which every table of database {database!r} could be held: "
        "long transactions or changes of tables are under way; run again when they are over."
    )


def _fixed(connection: Connection) -> list[tables.Table]:
    found = tables.begin(connection, leave_out=link.NAME)
    # Views are derived on each side, and large objects are not carried.
    return [t for t in found if t.kind == "r" and t.full_name != tables.LARGE_OBJECTS]


def _mark(opts: Options, database: str, theirs: Connection) -> tuple[list[tables.Table], float]:
    with link.there(opts, database) as holder:
        began = time.monotonic()
        with holder.transaction():
            holder.execute(f"SET LOCAL statement_timeout = {HOLD_LIMIT_MILLISECONDS}")
            holder.execute("SELECT dbops_migrate.hold()")
            found = _fixed(theirs)
            holder.execute("INSERT INTO dbops_migrate.marker VALUES (%s)", (str(uuid.uuid4()),))
        return found, time.monotonic() - began


@contextmanager
def _stopped_at_marker(opts: Options, database: str) -> Iterator[Callable[[], None]]:
    """Hold what is received at the next marker; yield a function that waits until it is there."""
    with link.here(opts, database) as barrier:
        _wait_for_markers(opts, database, barrier)
        with barrier.transaction():
            barrier.execute("LOCK TABLE dbops_migrate.marker IN ACCESS EXCLUSIVE MODE")
            yield lambda: _wait_reached(barrier, database)


def _wait_reached(barrier: Connection, database: str) -> None:
    query = """SELECT 1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE NOT l.granted AND l.relation = 'dbops_migrate.marker'::regclass
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.backend_type LIKE 'logical replication%'"""
    _wait(lambda: bool(link.one(barrier, query)), database)


def _wait_for_markers(opts: Options, database: str, barrier: Connection) -> None:
    """Wait for the markers of earlier attempts: one of those must not be taken for the next."""
    query = "SELECT token FROM dbops_migrate.marker"
    with link.there(opts, database) as theirs:
        there = {row[0] for row in theirs.execute(query).fetchall()}
    _wait(lambda: there <= {row[0] for row in barrier.execute(query).fetchall()}, database)


def _wait(done: Callable[[], bool], database: str) -> None:
    end = time.monotonic() + REACH_LIMIT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise CommandFailed(
                f"Database {database!r} did not catch up within {REACH_LIMIT_SECONDS} s: see "
                "'dbops migrate status' and the server's log on this host."
            )
        time.sleep(0.01)
