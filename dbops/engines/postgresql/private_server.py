"""The scratch server of a drill: its folders, its own configuration, starting and stopping it.

It answers on a Unix socket in its own folder and nowhere else, and every start goes through
:class:`dbops.drill.isolation.Cell`. What is *not* here: what is restored into it, and what is
compared.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dbops import runner
from dbops.drill import isolation
from dbops.drill import scratch as folder
from dbops.engines.postgresql.client import Connection, connect_socket
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, DbopsError, VerificationFailed

_PORT = 5432
_STOP_SECONDS = 600.0
_KILL_SECONDS = 5.0
_STATUS_LINE = 8
_SILENCE_SECONDS = 30.0
_FLOORS = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
_EVENT_TRIGGERS_OFF = 1700
"""From which version of pg_control on event triggers can be switched off by a setting."""
_CONTROL_NAMES = {"max_prepared_xacts": "max_prepared_transactions"}
_CONTROL_NAMES |= {"max_locks_per_xact": "max_locks_per_transaction"}


@dataclass
class Scratch:
    """One scratch server under ``root``, run in ``cell`` with the programs in ``bin_dir``.

    ``user`` is the account that fetches what is restored, ``reader`` the database's role that may
    read the content and nothing else, ``running`` the server while it runs.
    """

    root: Path
    bin_dir: Path
    user: str
    port: int
    cell: isolation.Cell
    reader: str = "dbops_backup"
    running: runner.Running | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    @property
    def tablespaces(self) -> Path:
        """Where every tablespace of the cluster is restored to."""
        return self.root / "tablespaces"

    @property
    def wal(self) -> Path:
        """The fetched log segments."""
        return self.root / "wal"

    @property
    def socket_dir(self) -> Path:
        """The folder of the socket, open to the cell's account and root only."""
        return self.root / "run"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.data, self.tablespaces, self.wal, self.socket_dir)

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.socket_dir / "server.log"

    def tool(self, name: str, *arguments: str, limit: float | None = None) -> runner.Completed:
        """Run one of the server's programs in a cell and return what it said, good or not."""
        argv = (str(self.bin_dir / name), *arguments)
        return self.cell.capture(argv, title=name, timeout_seconds=limit)

    def connect(self, database: str, user: str = "postgres") -> Connection:
        """Return an autocommit connection; Unreachable when the server does not answer."""
        return connect_socket(self.socket_dir, self.port, database, user, self.cell.user)


def place(options: Options) -> Scratch:
    """Return the scratch server of a drill host; ConfigError where an option is missing."""
    hosts = tuple((address, options.port) for address in options.hosts.values())
    root = options.require_path("scratch_dir")
    return Scratch(
        root=root,
        bin_dir=options.require_path("bin_dir"),
        user=options.os_user,
        port=_PORT,
        cell=isolation.Cell(options.drill_user, hosts, root),
        reader=options.backup_user,
    )


def create(scratch: Scratch) -> None:
    """Make the empty folders for what is fetched; remove what a killed drill left."""
    folder.create(scratch.root, scratch.user, scratch.folders, lambda: stop(scratch))


def hand_over(scratch: Scratch) -> None:
    """Give what was fetched to the account that the cell runs as."""
    folder.give(scratch.folders, scratch.cell.user)


def check_tools(scratch: Scratch, amcheck: bool) -> None:
    """Raise ConfigError unless every program that the drill will need is there."""
    for name in ("postgres", "pg_controldata", "pg_checksums", "pg_amcheck"):
        if not os.access(scratch.bin_dir / name, os.X_OK) and (amcheck or name != "pg_amcheck"):
            raise ConfigError(
                f"{scratch.bin_dir / name} is not there: install the server's version on this "
                "host or set the option bin_dir."
            )


def check_version(scratch: Scratch, wanted: str) -> None:
    """Raise ConfigError unless the programs here are of the major version ``wanted``.

    Nothing is restored yet, so no cell is needed.
    """
    argv = (str(scratch.bin_dir / "postgres"), "--version")
    request = runner.Command(argv, user=scratch.cell.user, timeout_seconds=30)
    said = runner.capture(request).stdout
    match = re.search(r"PostgreSQL\) (\d+)", said)
    here = match[1] if match else "unknown"
    if here != wanted:
        raise ConfigError(
            f"The backup was made by PostgreSQL {wanted} and this host has PostgreSQL {here}: "
            f"install {wanted} here."
        )


def alive(scratch: Scratch) -> bool:
    """Tell whether the server that :func:`start` started still runs."""
    return scratch.running is not None and scratch.running.alive()


def stop(scratch: Scratch) -> None:
    """Stop the server if it runs, cleanly if it can, and whatever else works on the data."""
    running, scratch.running = scratch.running, None
    if running is not None:
        for number in (signal.SIGINT, signal.SIGQUIT):  # pg_ctl's modes "fast" and "immediate"
            scratch.cell.signal(running.pid, number)
            if _ended(running, _STOP_SECONDS):
                break
        running.end(_KILL_SECONDS)
    folder.end((scratch.data,), {scratch.cell.user, scratch.user})


def _ended(running: runner.Running, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def control_data(scratch: Scratch) -> dict[str, str]:
    """Return what ``pg_controldata`` says about the restored data, by its labels."""
    done = scratch.tool("pg_controldata", "-D", str(scratch.data), limit=60)
    pairs = (line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    facts = {label.strip(): value.strip() for label, value in pairs}
    if done.status != 0 or "max_connections setting" not in facts:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it wrote nothing"]
        raise VerificationFailed(f"pg_controldata does not know the restored data: {said[-1]}.")
    return facts


def limits(control: dict[str, str]) -> dict[str, int]:
    """Return the settings that a standby must have no lower than its primary had."""
    found = dict(_FLOORS)
    for label, value in control.items():
        name = label.removesuffix(" setting")
        name = _CONTROL_NAMES.get(name, name)
        if name in found and value.isdigit():
            found[name] = max(found[name], int(value))
    return found


def quiet(control: dict[str, str]) -> dict[str, str]:
    """Return the settings by which no trigger of a user's answers to what the drill does."""
    version = control.get("pg_control version number", "")
    off = version.isdigit() and int(version) >= _EVENT_TRIGGERS_OFF
    return {"session_replication_role": "replica"} | ({"event_triggers": "off"} if off else {})


def configure(scratch: Scratch, recovery: dict[str, str]) -> None:
    """Replace every setting that came with the backup by the scratch server's own."""
    control = control_data(scratch)
    settings: dict[str, object] = {
        "listen_addresses": "",
        "unix_socket_directories": scratch.socket_dir,
        "unix_socket_permissions": "0700",
        "port": scratch.port,
        "hba_file": scratch.root / "hba.conf",
        "ident_file": scratch.root / "ident.conf",
        **limits(control),
        **quiet(control),
        "shared_buffers": "128MB",
        "maintenance_work_mem": "256MB",
        "wal_level": "replica",
        "archive_mode": "off",
        "hot_standby": "on",
        "autovacuum": "off",
        "max_logical_replication_workers": 0,
        "jit": "off",
        # The cell has no /dev/shm.
        "dynamic_shared_memory_type": "sysv",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "logging_collector": "off",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "restore_command": f'/usr/bin/cp "{scratch.wal}/%f" "%p"',
        **recovery,
    }
    lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
    users = "".join(f"drill {scratch.cell.user} {role}\n" for role in ("postgres", scratch.reader))
    folder.put(scratch.root / "postgresql.conf", "".join(lines))
    folder.put(scratch.root / "hba.conf", "local all all peer map=drill\n")
    folder.put(scratch.root / "ident.conf", users)
    folder.put(scratch.data / "postgresql.auto.conf", "", scratch.cell.user)
    folder.put(scratch.data / "recovery.signal", "", scratch.cell.user)
    folder.forget(scratch.data / "standby.signal")


def _quoted(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("'", "''")


def start(scratch: Scratch, limit_seconds: float) -> None:
    """Start the server in its cell and prove that the running process is cut off.

    Returns when it answers, which in recovery is when the data are consistent.
    """
    argv = (
        str(scratch.bin_dir / "postgres"), "-D", str(scratch.data),
        "-c", f"config_file={scratch.root}/postgresql.conf",
    )  # fmt: skip
    folder.forget(scratch.log)
    scratch.running = runner.start(scratch.cell.command(argv, title="postgres"), scratch.log)
    deadline = time.monotonic() + limit_seconds
    while not _ready(scratch):
        if not alive(scratch):
            words = last_words(scratch) or last_line(scratch)
            raise VerificationFailed(f"The restored server does not start: {words}")
        if time.monotonic() > deadline:
            raise VerificationFailed(
                f"The restored server did not answer within {limit_seconds:.0f} seconds."
            )
        time.sleep(0.05)
    scratch.cell.prove_process(scratch.running.pid)


def _ready(scratch: Scratch) -> bool:
    """Tell whether the server says that it lets clients in, as pg_ctl does (pidfile.h)."""
    try:
        lines = folder.read(scratch.data / "postmaster.pid").splitlines()
    except OSError:
        return False
    return len(lines) >= _STATUS_LINE and lines[_STATUS_LINE - 1].strip() in ("ready", "standby")


def wait(
    scratch: Scratch, what: str, done: Callable[[Connection], Any], limit_seconds: float
) -> Any:
    """Return the first true answer of ``done``; VerificationFailed when the server ends before."""
    deadline = time.monotonic() + limit_seconds
    silent_since: float | None = None
    while time.monotonic() < deadline:
        if not alive(scratch):
            raise VerificationFailed(f"The restored server did not {what}: {last_words(scratch)}")
        try:
            with scratch.connect("postgres") as connection:
                answer = done(connection)
            silent_since = None
        except (DbopsError, psycopg.Error) as error:
            answer = None
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _SILENCE_SECONDS:
                raise VerificationFailed(
                    f"The restored server runs and cannot be asked: {error}"
                ) from None
        if answer:
            return answer
        time.sleep(0.1)
    raise VerificationFailed(
        f"The restored server did not {what} within {limit_seconds:.0f} seconds."
    )


def log_text(scratch: Scratch) -> str:
    """Return what the server wrote since its last start."""
    try:
        return folder.read(scratch.log)
    except OSError:
        return ""


def last_words(scratch: Scratch) -> str:
    """Return the newest complaint in the server's log as a sentence, empty when there is none."""
    lines = [
        line.split(":  ", 1)[1]
        for line in log_text(scratch).splitlines()
        if re.search(r"\b(FATAL|PANIC):  ", line)
    ]
    lines = [line for line in lines if not line.startswith("the database system is")]
    return f"{lines[-1].rstrip('.')}." if lines else ""


def last_line(scratch: Scratch) -> str:
    """Return the last line of the server's log as a sentence."""
    lines = [line.strip() for line in log_text(scratch).splitlines() if line.strip()]
    return f"{lines[-1].rstrip('.')}." if lines else "it said nothing."
