"""A private server on a folder of append-only files: it answers on a Unix socket and nowhere else.

It is started as a replica of nobody who exists, for a replica removes nothing by itself: what has
expired stays until the content was read. :func:`open_` makes it a server like any other. What is
*not* here: what is put into its folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dbops import runner
from dbops.accounts import acting_as
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.engines.redis import client
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, Unreachable, VerificationFailed

_STOP_SECONDS = 60.0
_DATABASES = 16384
_LAST_BYTES = 65536
_COMPLAINTS = ("Bad file format", "Fatal", "Unexpected end", "Internal error", "Can't handle")
_NO_COMPLAINTS = ("WARNING", "User requested", "Redis is now ready to exit")


@dataclass(frozen=True)
class Place:
    """Where a private server works: ``data`` is its directory, ``run`` holds socket and log."""

    data: Path
    run: Path
    user: str | None
    options: Options
    cell: Cell | None = None

    @property
    def socket(self) -> Path:
        """The socket on which it answers."""
        return self.run / "s"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.run / "server.log"

    def argv(self, append_only: bool) -> tuple[str, ...]:
        """Return the command line; nothing of any other configuration is read."""
        settings = {
            "port": 0,
            "unixsocket": self.socket,
            "unixsocketperm": 700,
            "dir": self.data,
            "appendonly": "yes" if append_only else "no",
            "aof-load-truncated": "no",
            "auto-aof-rewrite-percentage": 0,
            "appendfsync": "no",
            "databases": _DATABASES,
            "maxmemory": 0,
            "daemonize": "no",
            "loglevel": "notice",
            "replicaof": "127.0.0.1 1",
            "replica-serve-stale-data": "yes",
            # Restored data may hold any command, but none that loads code or moves files.
            "enable-module-command": "no",
            "enable-debug-command": "no",
            "enable-protected-configs": "no",
        }
        words = [str(self.options.server)]
        for name, value in settings.items():
            words += [f"--{name}", *str(value).split(" ")]
        return (*words, "--save", "")


class Server:
    """A running private server. Leaving the block ends it."""

    def __init__(self, place: Place, running: runner.Running) -> None:
        self.place, self._running = place, running

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *about: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._running.alive()

    def end(self) -> None:
        """End it; what it has not saved by then is not wanted."""
        if self._running.alive():
            self._running.end(_STOP_SECONDS)

    def connect(self, timeout_seconds: float = client.ANSWER_TIMEOUT_SECONDS) -> Connection:
        """Return a connection to it.

        In a cell it is made as the server's account: the server owns the folder of its socket, and
        could lead root to another one.
        """
        with ExitStack() as stack:
            if self.place.cell is not None:
                stack.enter_context(acting_as(self.place.cell.user))
            return client.at_socket(self.place.socket, timeout_seconds=timeout_seconds)


def start(
    place: Place,
    limit_seconds: float,
    append_only: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Server:
    """Start a server and return it once it has read all its data.

    Raises VerificationFailed with the server's own last complaint when it ends before that.
    """
    place.socket.unlink(missing_ok=True)
    place.log.unlink(missing_ok=True)
    argv = place.argv(append_only)
    if place.cell is not None:
        command = place.cell.command(argv, title="The private server")
    else:
        command = runner.Command(argv, title="The private server", user=place.user)
    server = Server(place, runner.start(command, place.log))
    try:
        _wait(server, limit_seconds, tell)
    except BaseException:
        server.end()
        raise
    return server


def _wait(server: Server, limit_seconds: float, tell: Callable[[str], None]) -> None:
    deadline, told = time.monotonic() + limit_seconds, ""
    while time.monotonic() < deadline:
        if not server.alive():
            words = last_words(server.place)
            raise VerificationFailed(f"The data cannot be loaded: {words or 'no reason given'}.")
        try:
            with server.connect() as connection:
                state = connection.info("persistence") | connection.info("stats")
        except (Unreachable, CommandFailed):
            state = {}
        if state.get("loading") == "0":
            if lost := client.discarded(state):
                raise VerificationFailed(f"{lost} commands of the log were not carried out.")
            return
        now = client.loaded(state)
        if now != told:
            tell(now)
            told = now
        time.sleep(0.05)
    raise VerificationFailed(f"The data were not loaded within {limit_seconds:.0f} seconds.")


def open_(connection: Connection) -> None:
    """Make the server a primary, which takes writes and lets go of what has expired."""
    connection.ask("REPLICAOF", "NO", "ONE")


def last_words(place: Place) -> str:
    """Return the newest complaint in the server's log, without its full stop."""
    try:
        return complaint(scratch.tail(place.log, _LAST_BYTES).splitlines())
    except OSError:
        return ""


def complaint(lines: Sequence[str]) -> str:
    """Return the newest complaint in a server's log lines, empty when there is none."""
    said = [line.split(" # ", 1)[1] for line in lines if " # " in line]
    said = [line for line in said if not line.startswith(_NO_COMPLAINTS)]
    grave = [line for line in said if line.startswith(_COMPLAINTS)]
    words = (grave or said or [line for line in lines if line.strip()] or [""])[-1]
    return words.strip().rstrip(".")[:400]
