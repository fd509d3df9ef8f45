"""The scratch server of a drill: its folders, its own configuration, starting and stopping it.

It answers on a Unix socket in its own folder and nowhere else, and every start goes through
:class:`dbops.isolation.Cell`. What is *not* here: what is restored into it, and what is compared.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dbops import isolation, runner
from dbops import scratch as folder
from dbops.engines.postgresql.client import Connection, connect_socket
from dbops.errors import CommandFailed, ConfigError, DbopsError, VerificationFailed

_STOP_SECONDS = 600
_SILENCE_SECONDS = 30.0
_FLOORS = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
_CONTROL_NAMES = {"max_prepared_xacts": "max_prepared_transactions"}
_CONTROL_NAMES |= {"max_locks_per_xact": "max_locks_per_transaction"}


@dataclass(frozen=True)
class Scratch:
    """One scratch server under ``root``, run by ``user`` with the programs in ``bin_dir``."""

    root: Path
    bin_dir: Path
    user: str
    port: int
    cell: isolation.Cell

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
        """The folder of the socket, open to ``user`` and root only."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.socket_dir / "server.log"

    def tool(self, name: str, *arguments: str, limit: float | None = None) -> runner.Command:
        """Return the command for one of the server's programs, as its account."""
        argv = (str(self.bin_dir / name), *arguments)
        return runner.Command(argv, title=name, user=self.user, timeout_seconds=limit)

    def connect(self, database: str) -> Connection:
        """Return an autocommit connection as the superuser; Unreachable when it does not answer."""
        # As root: the account alone may not be able to reach the folder, and hba.conf maps both.
        return connect_socket(self.socket_dir, self.port, database, "postgres", "root")


def create(scratch: Scratch) -> None:
    """Make the empty folders; remove what a killed drill left."""
    folders = (scratch.data, scratch.tablespaces, scratch.wal, scratch.socket_dir)
    folder.create(scratch.root, scratch.user, folders, lambda: stop(scratch))


def check_tools(scratch: Scratch, amcheck: bool) -> None:
    """Raise ConfigError unless every program that the drill will need is there."""
    for name in ("postgres", "pg_ctl", "pg_controldata", "pg_checksums", "pg_amcheck"):
        if not os.access(scratch.bin_dir / name, os.X_OK) and (amcheck or name != "pg_amcheck"):
            raise ConfigError(
                f"{scratch.bin_dir / name} is not there: install the server's version on this "
                "host or set the option bin_dir."
            )


def check_version(scratch: Scratch, wanted: str) -> None:
    """Raise ConfigError unless the programs here are of the major version ``wanted``."""
    binary = str(scratch.bin_dir / "postgres")
    said = runner.capture(runner.Command((binary, "--version"), timeout_seconds=30)).stdout
    match = re.search(r"PostgreSQL\) (\d+)", said)
    here = match[1] if match else "unknown"
    if here != wanted:
        raise ConfigError(
            f"The backup was made by PostgreSQL {wanted} and this host has PostgreSQL {here}: "
            f"install {wanted} here."
        )


def remove(scratch: Scratch) -> None:
    """Stop what runs in the scratch folder and delete it; Refused when it is not dbops' own."""
    folder.remove(scratch.root, lambda: stop(scratch))


def process(scratch: Scratch) -> int | None:
    """Return the process that serves the scratch data, None when there is none."""
    return folder.serving(scratch.data / "postmaster.pid", scratch.data)


def stop(scratch: Scratch) -> None:
    """Stop the server if it runs: cleanly, and at once if that takes too long."""
    for mode in ("fast", "immediate"):
        if process(scratch) is None:
            return
        runner.capture(
            scratch.tool(
                "pg_ctl", "stop", "-w", "-s", "-m", mode, "-t", str(_STOP_SECONDS),
                "-D", str(scratch.data), limit=_STOP_SECONDS + 30,
            )
        )  # fmt: skip
    if process(scratch) is not None:
        raise CommandFailed(f"The scratch server in {scratch.root} does not stop: look at its log.")


def control_data(scratch: Scratch) -> dict[str, str]:
    """Return what ``pg_controldata`` says about the restored data, by its labels."""
    said = runner.check(scratch.tool("pg_controldata", "-D", str(scratch.data), limit=60)).stdout
    pairs = (line.split(":", 1) for line in said.splitlines() if ":" in line)
    return {label.strip(): value.strip() for label, value in pairs}


def limits(control: dict[str, str]) -> dict[str, int]:
    """Return the settings that a standby must have no lower than its primary had."""
    found = dict(_FLOORS)
    for label, value in control.items():
        name = label.removesuffix(" setting")
        name = _CONTROL_NAMES.get(name, name)
        if name in found and value.isdigit():
            found[name] = max(found[name], int(value))
    return found


def configure(scratch: Scratch, recovery: dict[str, str]) -> None:
    """Replace every setting that came with the backup by the scratch server's own."""
    settings: dict[str, object] = {
        "listen_addresses": "",
        "unix_socket_directories": scratch.socket_dir,
        "unix_socket_permissions": "0700",
        "port": scratch.port,
        "hba_file": scratch.root / "hba.conf",
        "ident_file": scratch.root / "ident.conf",
        **limits(control_data(scratch)),
        "shared_buffers": "128MB",
        "maintenance_work_mem": "256MB",
        "wal_level": "replica",
        "archive_mode": "off",
        "hot_standby": "on",
        "autovacuum": "off",
        "max_logical_replication_workers": 0,
        "jit": "off",
        "logging_collector": "off",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "restore_command": f'cp "{scratch.wal}/%f" "%p"',
        **recovery,
    }
    lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
    users = f"drill root postgres\ndrill {scratch.user} postgres\n"
    folder.put(scratch.root / "postgresql.conf", "".join(lines))
    folder.put(scratch.root / "hba.conf", "local all all peer map=drill\n")
    folder.put(scratch.root / "ident.conf", users)
    folder.put(scratch.data / "postgresql.auto.conf", "", scratch.user)
    folder.put(scratch.data / "recovery.signal", "", scratch.user)
    (scratch.data / "standby.signal").unlink(missing_ok=True)


def _quoted(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("'", "''")


def start(scratch: Scratch, limit_seconds: float) -> None:
    """Start the server in its cell and prove that the running process is cut off.

    Returns when it answers, which in recovery is when the data are consistent.
    """
    scratch.log.unlink(missing_ok=True)
    argv = (
        str(scratch.bin_dir / "pg_ctl"), "start", "-w", "-s", "-t", str(max(1, int(limit_seconds))),
        "-D", str(scratch.data), "-l", str(scratch.log),
        "-o", f"-c config_file={scratch.root}/postgresql.conf",
    )  # fmt: skip
    try:
        scratch.cell.run(
            argv, title="The scratch server's start", timeout_seconds=limit_seconds + 30
        )
    except CommandFailed as error:
        raise VerificationFailed(
            f"The restored server does not start: {last_words(scratch) or error}"
        ) from None
    pid = process(scratch)
    if pid is None:
        raise VerificationFailed(f"The restored server has ended: {last_words(scratch)}")
    scratch.cell.prove_process(pid)


def wait(
    scratch: Scratch, what: str, done: Callable[[Connection], Any], limit_seconds: float
) -> Any:
    """Return the first true answer of ``done``; VerificationFailed when the server ends before."""
    deadline = time.monotonic() + limit_seconds
    silent_since: float | None = None
    while time.monotonic() < deadline:
        if process(scratch) is None:
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
