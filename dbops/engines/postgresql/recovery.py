"""From the start of a restored server until it is proven: start, wait, tidy, check."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from dbops import files, handles
from dbops.engines.postgresql import client, heartbeat, wal
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.destination import Destination
from dbops.engines.postgresql.options import Options
from dbops.errors import CommandFailed, Refused, Unreachable, VerificationFailed
from dbops.restore import set_aside
from dbops.runner import Action, Command, Step, capture
from dbops.targets import Target

NOTE = "restore.json"
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
_STARTING_SECONDS = 20


def steps(
    target: Target, opts: Options, way: Destination, aside: Path | None, kept: str
) -> tuple[Step, ...]:
    """Return the steps from starting the restored server to the proof that it is whole."""
    note = target.state_dir / NOTE
    about = {"backup_id": way.backup.label, "set_aside": str(aside) if aside else None}
    limit = opts.restore_time_limit_seconds
    return (
        Action(f"note in {note} that this restore is not proven", partial(_note, note, about, "")),
        _start(opts),
        Action(
            f"wait until the server has replayed its log and opens (at most {limit:.0f} s)",
            partial(_wait, opts, kept, lambda line: None),
            watched=partial(_wait, opts, kept),
        ),
        Action(
            "remove the recovery settings from postgresql.auto.conf and settle the archiver",
            partial(_tidy, opts),
        ),
        Action(
            "verify that checksums are on and that the heartbeat can be read",
            partial(_prove_restored, opts, kept),
        ),
        Action(
            f"note in {note} that this restore is proven",
            partial(_note, note, about, "now"),
        ),
    )


def _note(path: Path, about: dict[str, str | None], verified: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({**about, "verified_at": now if verified else None}) + "\n"
    files.write(path, text, shared=True)


def _start(opts: Options) -> Command:
    if opts.service is not None:
        return Command(
            ("systemctl", "start", "--no-block", opts.service), title="start the service"
        )
    binary = opts.require_path("bin_dir") / "pg_ctl"
    data_dir = opts.require_path("data_dir")
    return Command(
        (str(binary), "start", "-W", "-s", "-D", str(data_dir), "-l", f"{data_dir}.log"),
        title="start the server",
        user=opts.os_user if os.geteuid() == 0 else None,
    )


def _connect(opts: Options, database: str = "postgres") -> Connection:
    return client.connect_socket(opts.socket_dir, opts.port, database, "postgres", opts.os_user)


def _wait(opts: Options, kept: str, tell: Callable[[str], None]) -> None:
    """Return when the server is open for writing; fail with its own last words when it ends."""
    began = time.monotonic()
    seen = False
    told = ""
    while time.monotonic() - began < opts.restore_time_limit_seconds:
        try:
            with _connect(opts) as connection:
                now = _progress(connection)
            if now == "open":
                return
            if now.startswith("paused"):
                raise VerificationFailed(f"The recovery stands still: {now}; {kept}.")
        except Unreachable:
            now = "the server is starting"
        except psycopg.Error:
            now = "the server is changing its state"
        if now != told:
            tell(now)
            told = now
        alive = _alive(opts)
        seen = seen or alive
        if not alive and (seen or time.monotonic() - began > _STARTING_SECONDS):
            raise VerificationFailed(f"The restored server ended: {_last_words(opts)}; {kept}.")
        time.sleep(0.3)
    raise VerificationFailed(
        f"The restored server was not open within {opts.restore_time_limit_seconds:.0f} s "
        f"({told}); {kept}."
    )


def _progress(connection: Connection) -> str:
    recovering = connection.execute("SELECT pg_is_in_recovery()").fetchall()[0][0]
    if not recovering:
        return "open"
    row = connection.execute(
        "SELECT pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp()::text, "
        "pg_get_wal_replay_pause_state()"
    ).fetchall()[0]
    if row[2] == "paused":
        return f"paused at {row[0]}, look at the server's log for a setting that is too small"
    return f"replayed to {row[0]} ({row[1] or 'no commit yet'})"


def _alive(opts: Options) -> bool:
    path = opts.require_path("data_dir") / "postmaster.pid"
    try:
        os.kill(int(path.read_text(encoding="ascii").split("\n")[0]), 0)
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def _last_words(opts: Options) -> str:
    """Return the server's last grave line, with what it most often means."""
    words = "it left no message"
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


def _tidy(opts: Options) -> None:
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
        raise VerificationFailed(
            f"{' and '.join(leftover)} stayed behind: the server may not open."
        )


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


def _prove_restored(opts: Options, kept: str) -> None:
    try:
        with _connect(opts) as connection:
            prove_server(connection)
    except (psycopg.Error, VerificationFailed) as error:
        words = client.reason(error) if isinstance(error, psycopg.Error) else str(error)
        raise VerificationFailed(f"The restored server is not sound: {words}; {kept}.") from None


def prove_server(connection: Connection) -> None:
    """Raise VerificationFailed unless checksums are on and the heartbeat, if any, can be read."""
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


def prove(target: Target, opts: Options) -> None:
    """Raise Refused unless the server is sound now and what it replaced is no longer needed.

    A primary must have been verified by the restore that made it; a standby must receive.
    """
    try:
        with _connect(opts) as connection:
            if connection.execute("SELECT pg_is_in_recovery()").fetchall()[0][0]:
                _receiving(connection)
                return
            prove_server(connection)
    except (CommandFailed, Unreachable, VerificationFailed, psycopg.Error) as error:
        words = client.reason(error) if isinstance(error, psycopg.Error) else str(error)
        raise Refused(f"The server is not up and sound, so nothing is removed: {words}.") from None
    set_aside.require_verified(target.state_dir / NOTE)


def _receiving(connection: Connection) -> None:
    if not connection.execute(
        "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    ).fetchall():
        raise VerificationFailed("it is a standby that receives nothing")
