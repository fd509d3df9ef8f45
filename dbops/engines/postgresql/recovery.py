"""What a restored server is asked until it is proven: replayed, tidied, sound."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psycopg
from psycopg import sql

from dbops import handles
from dbops.engines.postgresql import client, heartbeat, wal
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import VerificationFailed
from dbops.runner import Command, capture

_SETTINGS = (
    "restore_command",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
)
_GRAVE = re.compile(r".*?\b(FATAL|PANIC):\s+(.*)")
_CONNECTING = re.compile(r"the database system is|terminating connection|role .* does not exist")


def _connect(opts: Options, database: str = "postgres") -> Connection:
    return client.connect_socket(opts.socket_dir, opts.port, database, "postgres", opts.os_user)


def state(opts: Options) -> str | None:
    """Return None once the server is open for writing, until then how far it is.

    Raises VerificationFailed when its recovery has stopped for good.
    """
    try:
        with _connect(opts) as connection:
            if not _recovering(connection):
                return None
            return _progress(connection)
    except psycopg.Error:
        return "the server is changing its state"


def _recovering(connection: Connection) -> bool:
    return bool(connection.execute("SELECT pg_is_in_recovery()").fetchall()[0][0])


def _progress(connection: Connection) -> str:
    row = connection.execute(
        "SELECT pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp()::text, "
        "pg_get_wal_replay_pause_state()"
    ).fetchall()[0]
    if row[2] == "paused":
        raise VerificationFailed(
            f"The recovery stands still: paused at {row[0]}, look at the server's log for a "
            "setting that is too small"
        )
    return f"replayed to {row[0]} ({row[1] or 'no commit yet'})"


def last_words(opts: Options) -> str:
    """Return the server's last grave line, with what it most often means; empty without one."""
    words = ""
    for line in _log_lines(opts):
        match = _GRAVE.match(line)
        if match and not _CONNECTING.search(match[2]):
            words = match[2].strip()
    if "recovery ended before configured recovery target" in words:
        words += " (the archived log ends or has a hole before the point: ask for an earlier)"
    return words[:400]


def _log_lines(opts: Options) -> list[str]:
    data_dir = opts.require_path("data_dir")
    candidates = [Path(f"{data_dir}.log")]
    try:
        current = (data_dir / "current_logfiles").read_text(encoding="utf-8").split()
        candidates.insert(0, data_dir / current[1])
    except (OSError, IndexError):
        pass
    for path in candidates:
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 65536))
                return file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
    if opts.service is None:
        return []
    journal = ("journalctl", "--no-pager", "-o", "cat", "-n", "200", "-u", opts.service)
    return capture(Command(journal, timeout_seconds=30)).stdout.splitlines()


def tidy(opts: Options) -> None:
    """Take back what pgBackRest set for the recovery; VerificationFailed if a signal file stays."""
    with _connect(opts) as connection:
        for name in _SETTINGS:
            connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchall()[0]
        connection.execute("CHECKPOINT")
    settle_archive(opts, wal.split_segment(str(row[0]))[0])
    leftover = [
        name
        for name in ("recovery.signal", "standby.signal")
        if (opts.require_path("data_dir") / name).exists()
    ]
    if leftover:
        raise VerificationFailed(f"{' and '.join(leftover)} stayed behind")


def settle_archive(opts: Options, timeline: int) -> None:
    """Keep the archiver off segments of timelines before ``timeline``.

    What of them lies here came from the archive, or was preallocated by a restartpoint and holds
    nothing; pushing the latter under a name that the archive has would stop the archiver for good.
    """
    with handles.folder(opts.require_path("data_dir") / "pg_wal") as place:
        found = os.fstat(place.handle)
        owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else (-1, -1)
        names = os.listdir(place.handle)
        with place.enter("archive_status") as told:
            for name in names:
                try:
                    former = wal.split_segment(name)[0] < timeline
                except ValueError:
                    continue
                if former and told.look(f"{name}.done") is None:
                    told.remove(f"{name}.ready")
                    told.write(f"{name}.done", b"", *owner, 0o600)


def sound(opts: Options) -> None:
    """Raise VerificationFailed unless checksums are on and the heartbeat, if any, can be read."""
    with _connect(opts) as connection:
        row = connection.execute(
            "SELECT current_setting('data_checksums'), current_setting('ignore_checksum_failure'), "
            "pg_is_in_recovery(), to_regclass('dbops.heartbeat') IS NOT NULL"
        ).fetchall()[0]
        if row[2]:
            raise VerificationFailed("it is still in recovery")
        if row[0] != "on" or row[1] != "off":
            raise VerificationFailed("its data checksums are off")
        if row[3] and not connection.execute(heartbeat.READ).fetchall():
            raise VerificationFailed("its heartbeat table is empty")


def receives(opts: Options) -> bool | None:
    """Return whether a standby's WAL comes in, None on a primary."""
    query = "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    with _connect(opts) as connection:
        return bool(connection.execute(query).fetchall()) if _recovering(connection) else None


def explain(error: Exception) -> str | None:
    """Return what the server's own error means, None for any other."""
    return client.reason(error) if isinstance(error, psycopg.Error) else None
