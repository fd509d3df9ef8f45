"""Private Redis servers on this machine, which tests may change at will."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from dbops.engines.redis import client
from dbops.engines.redis.client import Ask, Connection
from dbops.errors import DbopsError

SETTINGS = {
    "aof-timestamp-enabled": "yes",
    "aof-use-rdb-preamble": "yes",
    "appendonly": "yes",
    "auto-aof-rewrite-percentage": "0",
    "enable-debug-command": "local",
    "repl-diskless-sync-delay": "0",
    "repl-timeout": "5",
    "unixsocketperm": "700",
}


class Server:
    """A private server in ``folder``; ``port`` 0 keeps it to its socket."""

    def __init__(self, folder: Path, program: Path, port: int = 0, **more: str) -> None:
        self.folder, self.program, self.port = folder, program, port
        self.data, self.socket = folder / "data", folder / "s"
        self.more = more
        self.accounts: tuple[str, ...] = ()
        self.login: tuple[str, Path] | tuple[()] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        settings = {
            **SETTINGS,
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.data),
            **{name.replace("_", "-"): value for name, value in self.more.items()},
        }
        words = [str(self.program)]
        for name, value in settings.items():
            words += [f"--{name}", *value.split()]
        for account in self.accounts:
            words += ["--user", *account.split()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*words, "--save", ""], stdout=log, stderr=log)
        wait(self.answers, "the server answers")

    def answers(self) -> bool:
        """Tell whether it has loaded its data and answers."""
        try:
            with self.connect() as connection:
                return not connection.loading()
        except DbopsError:
            return False

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self) -> None:
        """End it properly."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def connect(self) -> Connection:
        """Open a connection."""
        return client.at_socket(self.socket, *self.login)

    def run(self, *commands: Ask) -> list[Any]:
        """Run commands, none of which may fail."""
        with self.connect() as connection:
            answers = connection.many(commands)
        for command, answer in zip(commands, answers, strict=True):
            assert not isinstance(answer, Exception), (command, answer)
        return answers

    def follow(self, other: Server) -> None:
        """Become the replica of another one and wait until all is here."""
        self.run(("REPLICAOF", "127.0.0.1", other.port))
        wait(lambda: self.info("replication").get("master_link_status") == "up", "the link is up")

    def settle(self) -> None:
        """Wait until all that it acknowledged is in its file.

        With ``appendfsync everysec`` it holds writes back during an fsync, for up to two seconds.
        """
        wait(lambda: self.info("persistence")["aof_buffer_length"] == "0", "the log is written")

    def info(self, section: str) -> dict[str, str]:
        """Return one section of INFO."""
        with self.connect() as connection:
            return connection.info(section)


def wait(done: Any, what: str, seconds: float = 20) -> None:
    """Wait until ``done()`` is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.05)
