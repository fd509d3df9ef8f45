"""The content of the whole cluster at an exact position of its log, while it is being written.

On a standby the replay is paused for the milliseconds that it takes to open one snapshot per
database: one fingerprint. Without a standby each database's snapshot is exported by a temporary
logical slot at its consistent point: one fingerprint per database.

A restore that stops before the first record at or after ``point`` (recovery_target_lsn = point,
recovery_target_inclusive = off, recovery_target_timeline = timeline) holds exactly this content.
What is *not* here: how one table is hashed; see :mod:`.tables`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import psycopg

from dbops import files
from dbops.contract import Progress
from dbops.engines.postgresql import client, definitions, omitted, options, tables, wal
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.tables import ALGORITHM
from dbops.errors import CommandFailed, Unreachable
from dbops.manifest import DatabaseFingerprint, Fingerprint, Omission
from dbops.targets import Target

__all__ = [
    "ALGORITHM",
    "databases",
    "fingerprint",
    "fingerprint_databases",
    "member_name",
    "readable",
    "take",
]

ATTEMPTS = 4
PAUSE_LIMIT_SECONDS = 20
SLOT_LIMIT_SECONDS = 60
_PAUSED = "SELECT pg_get_wal_replay_pause_state()"
_CLUSTERS_PLACE = "postgres"
# -2 marks a database whose DROP was interrupted (pg_database.h).
_DATABASES = """
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY datname"""
_READABLE = """
SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2
  AND (NOT datistemplate OR has_database_privilege(oid, 'CONNECT')) ORDER BY datname"""


def fingerprint(target: Target, progress: Progress) -> Sequence[Fingerprint]:
    """Return the content of the target's cluster at an exact position of its log.

    Raises Unreachable or CommandFailed when it cannot be had whole.
    """
    options.require_part(target, "member", "repository")
    return take(options.read(target), target.state_dir, progress)


def take(
    opts: Options, state_dir: Path, progress: Progress, not_before: str | None = None
) -> tuple[Fingerprint, ...]:
    """Return the cluster's content at a position that is not before ``not_before``."""
    release_replay(opts, state_dir)
    with ExitStack() as stack:
        standby = stack.enter_context(_standby(opts, not_before, progress))
        if standby is not None:
            return (_on_standby(opts, standby, state_dir, progress),)
    return _on_primary(opts, progress)


def fingerprint_databases(
    connect: Callable[[str], Connection],
    databases: Sequence[str],
    planned: Mapping[str, Collection[str]] = MappingProxyType({}),
    algorithm: str = ALGORITHM,
) -> tuple[tuple[DatabaseFingerprint, ...], tuple[Omission, ...]]:
    """Return the content of a server that nobody writes to, and what was left out.

    ``connect`` opens one database. ``planned`` names tables by database: see :func:`.tables.begin`.
    """
    found: list[DatabaseFingerprint] = []
    more: list[DatabaseFingerprint] = []
    left: list[Omission] = []
    for name in databases:
        with connect(name) as connection:
            held = tables.begin(connection, planned=planned.get(name, ()), algorithm=algorithm)
            found.append(tables.digest(connection, name, held)[0])
            if algorithm != tables.FORMER:
                more += _definitions(connection, name)
            left += omitted.of_database(connection, name, held, algorithm)
            connection.execute("ROLLBACK")
    return (*found, *more), tuple(left)


def _definitions(connection: Connection, database: str) -> Iterator[DatabaseFingerprint]:
    """Yield a database's definitions, and the whole cluster's beside those of one database."""
    yield definitions.of_database(connection, database)
    if database == _CLUSTERS_PLACE:
        yield definitions.of_cluster(connection)


def databases(connection: Connection) -> list[str]:
    """Return the databases of users: all that accept connections, no templates."""
    return [row[0] for row in connection.execute(_DATABASES).fetchall()]


def readable(connection: Connection, algorithm: str = ALGORITHM) -> list[str]:
    """Return the databases whose content counts: templates do, but not by a former algorithm."""
    if algorithm == tables.FORMER:
        return databases(connection)
    return [row[0] for row in connection.execute(_READABLE).fetchall()]


def _one(connection: Connection, query: str) -> str:
    row = connection.execute(query).fetchone()
    return "" if row is None or row[0] is None else str(row[0])


@contextmanager
def _standby(
    opts: Options, not_before: str | None, progress: Progress
) -> Iterator[Connection | None]:
    """Yield a connection to a standby that has replayed ``not_before``, None when there is none."""
    try:
        connection = client.connect(opts, role="standby", user=opts.backup_user)
    except Unreachable:
        yield None
        return
    with connection:
        if _one(connection, _PAUSED) != "not paused":
            progress("the standby's replay is paused by somebody: reading the primary instead")
            yield None
        elif not_before is not None and not _replayed(connection, not_before):
            progress("the standby lags behind the backup: reading the primary instead")
            yield None
        else:
            yield connection


def _replayed(connection: Connection, position: str, limit_seconds: float = 60) -> bool:
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        if wal.parse_lsn(_one(connection, "SELECT pg_last_wal_replay_lsn()") or "0/0") >= (
            wal.parse_lsn(position)
        ):
            return True
        time.sleep(0.2)
    return False


def _on_standby(
    opts: Options, control: Connection, state_dir: Path, progress: Progress
) -> Fingerprint:
    member = _member(opts, control)
    began = time.monotonic()
    for attempt in range(ATTEMPTS):
        with ExitStack() as stack:
            names, left = readable(control), omitted.of_cluster(control)
            opened = {
                name: stack.enter_context(
                    client.connect(opts, member=member, database=name, user=opts.backup_user)
                )
                for name in names
            }
            taken_at = datetime.now(UTC)
            try:
                with _paused(control, member, state_dir):
                    point = _one(control, "SELECT pg_last_wal_replay_lsn()")
                    held = {name: tables.begin(opened[name]) for name in names}
                    if readable(control) != names:
                        raise tables.MovedError
            except tables.MovedError:
                progress(f"tables were being altered: attempt {attempt + 2}")
                time.sleep(attempt + 1)
                continue
            timeline = _timeline(opts, member)
            return _digest(opened, held, left, point, timeline, taken_at, began, progress)
    raise CommandFailed(
        f"Tables were altered during each of {ATTEMPTS} attempts to fix their content: "
        "take the fingerprint when no migration runs."
    )


def member_name(opts: Options, connection: Connection) -> str:
    """Return the name of the member at the other end, ``the local server`` over a socket."""
    return _member(opts, connection) or "the local server"


def _member(opts: Options, connection: Connection) -> str | None:
    """Return which member a connection goes to, so that all others go to the same one."""
    if opts.passfile is None:
        return None
    host = connection.info.host
    for name, address in opts.hosts.items():
        if host in (name, address):
            return name
    return None


@contextmanager
def _paused(control: Connection, member: str | None, state_dir: Path) -> Iterator[None]:
    """Hold the standby's replay; a note on disk lets the next run release it after a kill."""
    note = _note(state_dir)
    text = json.dumps({"member": member, "since": datetime.now(UTC).isoformat()})
    files.write(note, text, shared=True)
    try:
        control.execute("SELECT pg_wal_replay_pause()")
        end = time.monotonic() + PAUSE_LIMIT_SECONDS
        while _one(control, _PAUSED) != "paused":
            if time.monotonic() > end:
                raise CommandFailed(
                    f"The standby's replay did not pause within {PAUSE_LIMIT_SECONDS} s: "
                    "a long query there may be holding it back."
                )
            # A standby that has nothing to replay notices the request only with the next record.
            time.sleep(0.005)
        yield
    finally:
        control.execute("SELECT pg_wal_replay_resume()")
        note.unlink(missing_ok=True)


def _note(state_dir: Path) -> Path:
    return state_dir / "replay-paused.json"


def release_replay(opts: Options, state_dir: Path) -> None:
    """Resume the replay that an earlier run left paused because it was killed."""
    note = _note(state_dir)
    try:
        member = json.loads(note.read_text(encoding="utf-8")).get("member")
    except (OSError, ValueError, AttributeError):
        return
    with client.connect(opts, role="standby", member=member, user=opts.backup_user) as connection:
        connection.execute("SELECT pg_wal_replay_resume()")
    note.unlink(missing_ok=True)


def _timeline(opts: Options, member: str | None) -> int:
    with client.connect(opts, member=member, user=opts.backup_user, replication=True) as connection:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    return int(row[1]) if row else 0


def _digest(
    opened: dict[str, Connection],
    held: dict[str, list[tables.Table]],
    left: tuple[Omission, ...],
    point: str,
    timeline: int,
    taken_at: datetime,
    began: float,
    progress: Progress,
) -> Fingerprint:
    found: list[DatabaseFingerprint] = []
    more: list[DatabaseFingerprint] = []
    size = 0
    for name, connection in opened.items():
        number = sum(table.full_name != tables.LARGE_OBJECTS for table in held[name])
        progress(f"fingerprint of {name}: {number} tables")
        database, read = tables.digest(connection, name, held[name])
        more += _definitions(connection, name)
        left += omitted.of_database(connection, name, held[name])
        connection.execute("ROLLBACK")
        found.append(database)
        size += read
    return Fingerprint(
        algorithm=ALGORITHM,
        point=wal.format_lsn(wal.next_record(wal.parse_lsn(point))),
        timeline=timeline,
        taken_at=taken_at,
        seconds=round(time.monotonic() - began, 3),
        bytes_read=size,
        databases=(*found, *more),
        omitted=left,
    )


def _on_primary(opts: Options, progress: Progress) -> tuple[Fingerprint, ...]:
    with client.connect(opts, role="primary", user=opts.backup_user) as control:
        member = _member(opts, control)
        plain, left = databases(control), omitted.of_cluster(control)
        names = [
            name for name in readable(control) if name in plain or _holds_tables(opts, member, name)
        ]
    found = []
    for name in names:
        found.append(_database_on_primary(opts, member, name, left, progress))
        left = ()
    return tuple(found)


def _holds_tables(opts: Options, member: str | None, name: str) -> bool:
    """An empty template would cost a drill one recovery more.

    The connection is short: nobody can copy a database while another is connected to it.
    """
    with client.connect(opts, member=member, database=name, user=opts.backup_user) as connection:
        return tables.any_there(connection)


def _database_on_primary(
    opts: Options, member: str | None, name: str, left: tuple[Omission, ...], progress: Progress
) -> Fingerprint:
    began = time.monotonic()
    for attempt in range(ATTEMPTS):
        taken_at = datetime.now(UTC)
        with client.connect(
            opts, member=member, database=name, user=opts.backup_user
        ) as connection:
            timeline = _timeline(opts, member)
            try:
                with _exported(opts, member, name) as (point, snapshot):
                    held = tables.begin(connection, snapshot)
            except tables.MovedError:
                progress(f"tables of {name} were being altered: attempt {attempt + 2}")
                time.sleep(attempt + 1)
                continue
            return _digest(
                {name: connection}, {name: held}, left, point, timeline, taken_at, began, progress
            )
    raise CommandFailed(
        f"Tables of database {name!r} were altered during each of {ATTEMPTS} attempts to fix "
        "their content: take the fingerprint when no migration runs."
    )


@contextmanager
def _exported(opts: Options, member: str | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield a position and the snapshot that holds exactly what was committed before it."""
    with client.connect(
        opts, member=member, database=name, user=opts.backup_user, replication=True
    ) as connection:
        # The slot waits for every running transaction; a statement time limit does not reach it.
        timer = threading.Timer(SLOT_LIMIT_SECONDS, connection.cancel)
        timer.start()
        try:
            row = connection.execute(
                f"CREATE_REPLICATION_SLOT dbops_fingerprint_{os.getpid()} TEMPORARY LOGICAL "
                "pgoutput (SNAPSHOT 'export')"
            ).fetchall()[0]
        except psycopg.errors.QueryCanceled:
            raise CommandFailed(
                f"A transaction in database {name!r} stays open for more than "
                f"{SLOT_LIMIT_SECONDS} s, so no consistent point was reached: end it, run again."
            ) from None
        except psycopg.Error as error:
            raise CommandFailed(
                f"No snapshot of database {name!r} could be made: {client.reason(error)}."
            ) from None
        finally:
            timer.cancel()
        yield str(row[1]), str(row[2])
