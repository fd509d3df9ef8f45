"""A server that dbops starts for itself: on a socket in a folder of its own, on no network.

A restore replays the log in it before the service starts; a drill has nothing else. What is *not*
here: what is put into its data directory (:mod:`.refill`) and replayed (:mod:`.replay`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pymysql

from dbops.accounts import acting_as
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.flavor import MARIADB, MYSQL, Flavor
from dbops.errors import CommandFailed, ConfigError, Unreachable
from dbops.runner import Command, Running, capture, start

FIRST = (
    "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'",
    "ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket",
    "INSERT INTO mysql.component (component_group_id, component_urn) "
    "VALUES (1, 'file://component_validate_password')",
)
"""What a new MySQL is told while it is made."""
_STOP_SECONDS = 600.0
_FIXED = re.compile(
    r"(lower[_-]case[_-]table[_-]names|innodb[_-]page[_-]size|innodb[_-]data[_-]file[_-]path)"
    r"\s*=\s*([\w:;]+)"
)
_VERSION = re.compile(r"Ver (\d+\.\d+)\.")


CONTROL = "dbops_drill_control"
"""The role that a cell's account takes on to do more than read."""
_READS = "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, REPLICATION CLIENT"
_ALL = f"GRANT ALL PRIVILEGES ON *.* TO {CONTROL} WITH GRANT OPTION"
_ACCOUNT = {
    MARIADB.name: (
        "CREATE OR REPLACE USER {user} IDENTIFIED VIA unix_socket",
        f"GRANT {_READS}, SLAVE MONITOR ON *.* TO {{user}}",
        # Before anybody has logged in nobody could grant it.
        f"CREATE OR REPLACE ROLE {CONTROL} WITH ADMIN {{user}}",
        _ALL,
    ),
    MYSQL.name: (
        "DROP USER IF EXISTS {user}",
        "CREATE USER {user} IDENTIFIED WITH auth_socket",
        f"GRANT {_READS} ON *.* TO {{user}}",
        f"DROP ROLE IF EXISTS {CONTROL}",
        f"CREATE ROLE {CONTROL}",
        _ALL,
        f"GRANT {CONTROL} TO {{user}}",
    ),
}


@dataclass(frozen=True)
class Server:
    """Where it works, as the account ``user``.

    With a ``cell`` it runs cut off, after the proof that it is, and is asked as that account: to it
    nobody else exists.
    """

    config: Path
    data_dir: Path
    run_dir: Path
    user: str
    cell: Cell | None = None
    flavor: Flavor = MARIADB

    @property
    def socket(self) -> Path:
        """The only place where it answers."""
        return self.run_dir / "s.sock"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.run_dir / "server.log"

    @property
    def relay(self) -> Path:
        """Where what it is to apply lies."""
        return self.run_dir / "relay"

    @property
    def exchange(self) -> Path:
        """The only folder whose files a statement could name; there is none in it."""
        return self.run_dir / "files"

    def prepare(self) -> None:
        """Make the folders that it wants to find, as the account that it runs as."""
        with acting_as(self.user):
            for folder in (self.relay, self.exchange, self.temporary):
                folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def cleared(self) -> Iterator[Path]:
        """Yield the folder of relay files while it holds no others, and leave none behind."""
        self._clear()
        try:
            yield self.relay
        finally:
            self._clear()

    def _clear(self) -> None:
        with acting_as(self.user):
            for path in self.relay.glob("relay-bin.*"):
                path.unlink(missing_ok=True)

    @property
    def temporary(self) -> Path:
        """Where it keeps what does not last."""
        return self.run_dir / "tmp"

    @property
    def account(self) -> str:
        """The account in it, and of this host, that dbops asks it as."""
        return self.user if self.cell is not None else "root"

    def connect(self, timeout_seconds: float = 0) -> Connection:
        """Return a connection that may do all; 0 is no limit for an answer."""
        connection = self.reading(timeout_seconds)
        if self.cell is not None:
            client.rows(connection, f"SET ROLE {CONTROL}")
        return connection

    def reading(self, timeout_seconds: float = 0) -> Connection:
        """Return a connection to read with, which in a cell may do nothing else."""
        return client.over(self.socket, self.account, timeout_seconds)

    def accounts(self) -> tuple[str, ...]:
        """Return the statements that make the cell's account in a server."""
        user = f"'{self.user}'@'localhost'"
        named = [line.format(user=user) for line in _ACCOUNT[self.flavor.name]]
        return ("SET SESSION sql_log_bin = 0", *named)

    def command(self) -> Command:
        """Return the command that it runs as: nothing replicates, nothing is scheduled."""
        argv = (
            self.flavor.server,
            f"--defaults-file={self.config}",
            f"--datadir={self.data_dir}",
            f"--socket={self.socket}",
            f"--pid-file={self.run_dir / 'pid'}",
            # As the service names it: what the index lists by another path cannot be fetched.
            "--log-bin=binlog",
            f"--tmpdir={self.temporary}",
            f"--relay-log={self.relay / 'relay-bin'}",
            f"--relay-log-index={self.relay / 'relay-bin.index'}",
            *(option.format(self) for option in self.flavor.private),
        )
        return self.tool(argv, "the server" if self.cell is None else "the scratch server")

    def tool(self, argv: Sequence[str], title: str) -> Command:
        """Return the command that runs ``argv`` as the server runs: its account, in its cell."""
        if self.cell is not None:
            return self.cell.command(argv, title=title)
        return Command(tuple(argv), title=title, user=self.user if os.geteuid() == 0 else None)


def initialize(server: Server) -> Command:
    """Return the command that makes an empty MySQL in the empty data directory of ``server``.

    Its root is known by the account of the operating system only, from the first moment on.
    """
    server.prepare()
    script = server.run_dir / "initialize.sql"
    scratch.put(script, "".join(f"{line};\n" for line in FIRST))
    argv = (
        server.flavor.server,
        "--no-defaults",
        "--initialize-insecure",
        f"--datadir={server.data_dir}",
        f"--init-file={script}",
        f"--tmpdir={server.temporary}",
        *_made_with(server.config),
    )
    return server.tool(argv, "making an empty server")


def _made_with(config: Path) -> list[str]:
    """Return the options of ``config`` that a server must be made with to start with them."""
    found: dict[str, str] = {}
    for line in scratch.read(config).splitlines():
        if match := _FIXED.fullmatch(line.strip()):
            found[match[1].replace("_", "-")] = match[2].strip()
    return [f"--{name}={value}" for name, value in found.items()]


def version(flavor: Flavor = MARIADB) -> str:
    """Return the release series of the server programs on this host, such as ``10.11``."""
    said = capture(Command((flavor.server, "--version"), timeout_seconds=30)).stdout
    found = _VERSION.search(said)
    if found is None:
        raise ConfigError(f"{flavor.server} does not say its version: run provision.")
    return found[1]


@contextmanager
def running(server: Server, limit_seconds: float) -> Iterator[Running]:
    """Run the server while the block runs, and shut it down in order after it."""
    server.prepare()
    process = start(server.command(), server.log)
    try:
        _wait(server, process, limit_seconds)
        if server.cell is not None:
            server.cell.prove_process(process.pid)
        yield process
        _shut_down(server, process)
    finally:
        if process.alive():
            process.end(30)


def _wait(server: Server, process: Running, limit_seconds: float) -> None:
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        with suppress(Unreachable):
            server.connect(10).close()
            return
        if not process.alive():
            raise CommandFailed(f"The restored server ended: {last_words(server.log)}")
        time.sleep(0.2)
    raise CommandFailed(f"The restored server did not answer within {limit_seconds:.0f} s.")


def _shut_down(server: Server, process: Running) -> None:
    with suppress(pymysql.Error, Unreachable), server.connect(30) as connection:
        client.rows(connection, "SET GLOBAL innodb_fast_shutdown = 1")
        client.rows(connection, "SHUTDOWN")
    end = time.monotonic() + _STOP_SECONDS
    while process.alive():
        if time.monotonic() > end:
            raise CommandFailed(f"The server did not shut down within {_STOP_SECONDS:.0f} s.")
        time.sleep(0.1)


def last_words(log: Path) -> str:
    """Return the last grave line of a server's log."""
    try:
        lines = scratch.tail(log, 65536).splitlines()
    except OSError:
        lines = []
    grave = [line.split("[ERROR]", 1)[1].strip() for line in lines if "[ERROR]" in line]
    grave = [line for line in grave if line != "Aborting"]
    said = grave or [line.strip() for line in lines if line.strip()] or ["it left no message"]
    return said[-1][:400]
