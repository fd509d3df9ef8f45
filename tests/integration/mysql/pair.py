"""A primary and its replica on this machine, by the statements of an ordinary replication."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dbops.engines.mysql import client
from tests.integration import ports
from tests.integration.mysql.machine import Member, certificates, tls_settings

FILES = Path(__file__).resolve().parents[3] / "roles" / "mysql" / "files" / "mariadb"


class Pair:
    """Two members of one cluster; ``replica`` follows ``primary``."""

    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, ports.free()
        certificates(folder / "tls")
        self.primary, self.replica = (
            Member(folder / f"m{number}", number, port, self._settings(number)).install().start()
            for number in (1, 2)
        )
        for member in (self.primary, self.replica):
            member.run(
                "SET sql_log_bin = 0",
                "CREATE USER r@'127.0.0.1' IDENTIFIED BY 'secret'",
                "GRANT REPLICATION SLAVE ON *.* TO r@'127.0.0.1'",
            )
        self.follow()
        self.primary.run("CREATE DATABASE d", "CREATE DATABASE dbops")

    def _settings(self, number: int) -> str:
        tls = tls_settings(self.folder / "tls")
        return f"bind-address = {self.address(number)}\n{tls}"

    @staticmethod
    def address(number: int) -> str:
        """Return the address of a member by its number."""
        return f"127.0.0.{number}"

    def follow(self) -> None:
        """Let the replica follow the primary, as the role's module does."""
        port, number = self.primary.options.port, self.primary.value("SELECT @@server_id")
        self.replica.run(
            "SET GLOBAL read_only = 1",
            f"CHANGE MASTER TO MASTER_HOST = '{self.address(number)}', MASTER_PORT = {port}, "
            "MASTER_USER = 'r', MASTER_PASSWORD = 'secret', MASTER_USE_GTID = slave_pos, "
            "MASTER_DEMOTE_TO_SLAVE = 1",
            "START SLAVE",
        )

    def wait(self) -> None:
        """Wait until the replica has all that the primary has."""
        query = f"SELECT MASTER_GTID_WAIT('{self.primary.position()}', 20)"
        assert self.replica.value(query) == 0

    def stand_down(self) -> str:
        """Let the primary take no more writes, as the role does; return what it printed."""
        return script(self.primary, "stand_down.sql")

    def turn(self) -> None:
        """Make the replica the primary, as become_primary.yml does, and let the other follow."""
        self.stand_down()
        self.wait()
        self.replica.run("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
        self.primary, self.replica = self.replica, self.primary
        self.follow()

    def stop(self) -> None:
        for member in (self.primary, self.replica):
            member.stop()


def script(member: Member, name: str) -> str:
    """Feed a file of the role to the client, as root; return what it printed."""
    argv = ["mariadb", "--no-defaults", f"--socket={member.socket}", "--batch"]
    done = subprocess.run(
        [*argv, "--skip-column-names"],
        input=(FILES / name).read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def count(member: Member, table: str) -> int:
    """Return how many rows a table has."""
    with member.connect() as connection:
        query = client.sql("SELECT COUNT(*) FROM {table}", table=table)
        return int(client.value(connection, query))


def until(found: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until ``found()`` is true."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)
