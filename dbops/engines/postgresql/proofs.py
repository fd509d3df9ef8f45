"""What is asked of a restored scratch server: its content, its newest heartbeat, its soundness."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial

import psycopg
from psycopg import sql

from dbops.engines.postgresql import fingerprint, heartbeat, omitted, tables, wal
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.private_server import Scratch, configure, log_text, start, wait
from dbops.engines.postgresql.unplanned import PREFIX
from dbops.errors import VerificationFailed
from dbops.manifest import Fingerprint

_AMCHECK_SECONDS = 24 * 3600.0
# Those of indexes, and the database's own, where their versions are known and differ.
_COLLATIONS = """
SELECT name, version, now FROM (
  SELECT c.collname AS name, c.collversion AS version, pg_collation_actual_version(c.oid) AS now
  FROM pg_collation c WHERE c.oid IN (SELECT unnest(indcollation) FROM pg_index)
  UNION ALL
  SELECT 'default', datcollversion, pg_database_collation_actual_version(oid)
  FROM pg_database WHERE datname = current_database()
) AS known WHERE version <> now ORDER BY name LIMIT 1"""
_EVENT_TRIGGERS = "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'"
_CHECKED = re.compile(r"(\d+)/(\d+) relations \(100%\)")


def recover_to(scratch: Scratch, point: str, timeline: int, limit_seconds: float) -> None:
    """Start a server that is to stop at ``point``; return when it has, exactly there."""
    settings = {
        "recovery_target_lsn": point,
        "recovery_target_inclusive": "off",
        "recovery_target_action": "pause",
        "recovery_target_timeline": str(timeline),
    }
    configure(scratch, settings)
    start(scratch, limit_seconds)
    replayed = wait(scratch, f"reach {point}", _paused, limit_seconds)
    if f'recovery stopping before WAL location (LSN) "{_plain(point)}"' not in log_text(scratch):
        raise VerificationFailed(
            f"The restored server stopped at {replayed} and not at the fingerprint's point {point}."
        )
    if wal.parse_lsn(replayed) > wal.parse_lsn(point):
        raise VerificationFailed(f"The restored server went past {point}, to {replayed}.")


def _plain(point: str) -> str:
    return wal.format_lsn(wal.parse_lsn(point))


def _paused(connection: Connection) -> str | None:
    row = connection.execute(
        "SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()::text"
    ).fetchone()
    return str(row[1]) if row and row[0] == "paused" else None


def recover_newest(scratch: Scratch, last_segment: str, timeline: int, limit_seconds: float) -> str:
    """Start a server that replays everything and opens; return how far it came.

    A damaged record ends a recovery without a word, so it must have come into ``last_segment``.
    """
    configure(scratch, {"recovery_target_timeline": str(timeline)})
    start(scratch, limit_seconds)
    replayed = str(wait(scratch, "open for writing", _opened, limit_seconds))
    _, number = wal.split_segment(last_segment)
    if wal.parse_lsn(replayed) <= number * wal.SEGMENT_BYTES:
        raise VerificationFailed(
            f"The replay ended at {replayed}, before the newest archived segment {last_segment}: "
            "the log in between is damaged."
        )
    return replayed


def _opened(connection: Connection) -> str | None:
    row = connection.execute(
        "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text"
    ).fetchone()
    return str(row[1]) if row and not row[0] else None


def content(scratch: Scratch, expected: Fingerprint, whole: bool) -> Fingerprint:
    """Return what the running server holds of that which ``expected`` covers, and what it omits.

    ``whole`` says that ``expected`` covers all databases, so that another one comes along.
    """
    algorithm = expected.algorithm
    wanted = {database.database for database in expected.databases}
    reading = partial(scratch.connect, user=scratch.reader)
    with reading("postgres") as connection:
        names = fingerprint.readable(connection, algorithm)
        left = omitted.of_cluster(connection, algorithm)
    names = [name for name in names if whole or name in wanted]
    try:
        found, more = fingerprint.fingerprint_databases(
            reading, names, _planned(expected), algorithm
        )
    except tables.MovedError:
        raise VerificationFailed("The restored tables are not as their catalogue says.") from None
    return expected.model_copy(update={"databases": found, "omitted": left + more})


def _planned(expected: Fingerprint) -> dict[str, set[str]]:
    """Return, by database, the tables whose checksums were made by a query."""
    return {
        database.database: {
            table.name for table in database.tables if not table.checksum.startswith(PREFIX)
        }
        for database in expected.databases
    }


def newest_beat(scratch: Scratch) -> datetime | None:
    """Return the time of the newest heartbeat that came back, None without one."""
    try:
        with scratch.connect("postgres", scratch.reader) as connection:
            row = connection.execute(heartbeat.READ).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[1] if row is not None and isinstance(row[1], datetime) else None


def check_indexes(scratch: Scratch) -> str:
    """Check every table and B-tree with pg_amcheck; VerificationFailed with its first complaint.

    It says at its end how many relations it checked; a silent one has checked nothing.
    """
    _switch_off_event_triggers(scratch)
    done = scratch.tool(
        "pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--parent-check",
        "--progress", "--host", str(scratch.socket_dir), "--port", str(scratch.port),
        "--username", "postgres", limit=_AMCHECK_SECONDS,
    )  # fmt: skip
    lines = [line.strip() for line in re.split(r"[\r\n]+", done.stdout + done.stderr)]
    checked = [found for found in map(_CHECKED.match, lines) if found]
    if done.status != 0:
        rest = [line for line in lines if line and not _CHECKED.match(line)]
        said = " ".join(rest[:2]).rstrip(".:") or f"exit status {done.status}"
        raise VerificationFailed(
            f"pg_amcheck finds damage in the restored data: {said}.{_collations(scratch)}"
        )
    if not checked or checked[-1][1] != checked[-1][2] or int(checked[-1][2]) == 0:
        raise VerificationFailed("pg_amcheck does not say that it checked every relation.")
    return f"every table and B-tree index is sound ({int(checked[-1][2]):,} checked)"


def _collations(scratch: Scratch) -> str:
    """Return a sentence on a collation that sorts otherwise here than where the data are from."""
    for name in _names(scratch):
        with scratch.connect(name) as connection:
            found = connection.execute(_COLLATIONS).fetchone()
        if found is not None:
            return (
                f" Collation {found[0]!r} of database {name!r} is of version {found[2]} here and "
                f"was of {found[1]}, so that an index may be out of order for that reason alone: "
                "a drill host needs the members' release of the operating system."
            )
    return ""


def _names(scratch: Scratch) -> list[str]:
    with scratch.connect("postgres") as connection:
        return fingerprint.readable(connection)


def _switch_off_event_triggers(scratch: Scratch) -> None:
    """The extension that pg_amcheck installs is no concern of a user's triggers.

    Those that are enabled ALWAYS heed no session_replication_role, and before version 17 there is
    no other setting. To alter one fires none (event-trigger-definition.html).
    """
    for name in _names(scratch):
        with scratch.connect(name) as connection:
            for row in connection.execute(_EVENT_TRIGGERS).fetchall():
                alter = sql.SQL("ALTER EVENT TRIGGER {} DISABLE")
                connection.execute(alter.format(sql.Identifier(str(row[0]))))


def check_pages(scratch: Scratch) -> str:
    """Verify the checksum of every page of the stopped server's data; VerificationFailed if not."""
    done = scratch.tool("pg_checksums", "--check", "-D", str(scratch.data))
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    blocks = facts.get("Blocks scanned", "0").strip()
    if done.status != 0 or facts.get("Bad checksums", "").strip() != "0" or blocks == "0":
        said = next((line for line in lines if "error" in line or "fail" in line), "no clear word")
        raise VerificationFailed(f"The page checksums do not hold: {said.rstrip('.')}.")
    return f"{int(blocks):,} pages"
