"""Private servers on this machine, which tests may change, stop and kill at will."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection, Row
from dbops.engines.mysql.options import Options
from dbops.errors import Unreachable

CONFIG = """[mariadb-backup]
socket = {directory}/s.sock
[mysqld]
datadir = {data}
tmpdir = {directory}/tmp
socket = {directory}/s.sock
pid-file = {directory}/pid
log-bin = {data}/binlog
server-id = {server_id}
gtid-strict-mode = 1
log-slave-updates = 1
binlog-format = ROW
innodb-buffer-pool-size = 64M
innodb-log-file-size = 32M
innodb-flush-log-at-trx-commit = 2
plugin-load-add = auth_ed25519
port = {port}
bind-address = 127.0.0.1
{more}
"""


class Member:
    """One server: its folder, its account and its process."""

    def __init__(self, directory: Path, server_id: int = 1, port: int = 0, more: str = "") -> None:
        self.directory = directory
        self.data = directory / "data"
        self.config = directory / "my.cnf"
        self.socket = directory / "s.sock"
        self.options = Options(
            socket=self.socket, data_dir=self.data, config_file=self.config, port=port or 3306
        )
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        more = more if port else f"skip-networking\n{more}"
        self.config.write_text(
            CONFIG.format(
                data=self.data, directory=directory, server_id=server_id, port=port, more=more
            )
        )
        self.config.chmod(0o644)
        # A server that starts deletes the temporary tables of whichever has the same folder.
        (directory / "tmp").mkdir(exist_ok=True)
        for path in (directory, directory / "tmp"):
            self._own(path)

    @staticmethod
    def _own(path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "mysql", "mysql")

    def install(self) -> Member:
        """Make an empty data directory: a copy of one that this process has made before."""
        shutil.copytree(_installed(), self.data)
        for path in (self.data, *self.data.rglob("*")):
            self._own(path)
        return self

    def start(self, *arguments: str) -> Member:
        """Start it and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mariadbd", f"--defaults-file={self.config}", "--user=mysql", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(Unreachable):
                self.connect().close()
                return self
            time.sleep(0.1)
        raise AssertionError((self.directory / "log").read_text()[-2000:])

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it, in order unless another signal is given."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def connect(self) -> Connection:
        """Return root's connection."""
        return client.over(self.socket, "root")

    def run(self, *statements: str) -> None:
        """Carry statements out in one session."""
        with self.connect() as connection:
            for statement in statements:
                client.rows(connection, statement)

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a query."""
        with self.connect() as connection:
            return client.rows(connection, query, values)

    def value(self, query: str) -> Any:
        """Return one value."""
        return self.rows(query)[0][0]

    def position(self) -> str:
        """Return how far its binary log is."""
        return str(self.value("SELECT @@GLOBAL.gtid_binlog_pos"))

    def wipe(self) -> None:
        """Drop every database that a test made."""
        for (name,) in self.rows(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN "
            "('mysql','information_schema','performance_schema','sys')"
        ):
            self.run(f"DROP DATABASE {client.name(name)}")


@cache
def _installed() -> Path:
    """Return an empty data directory that no server uses; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="dbops-mysql-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    member = Member(folder / "empty")
    done = subprocess.run(
        [
            "mariadb-install-db",
            f"--defaults-file={member.config}",
            f"--datadir={member.data}",
            "--user=mysql",
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return member.data


def certificates(folder: Path) -> None:
    """Make an authority, and a certificate for 127.0.0.1 and the name m1."""
    folder.mkdir()
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,IP:127.0.0.2,DNS:m1\n")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for line in (
        f"req -x509 {new} -keyout ca.key -out ca.crt -subj /CN=ca -days 2",
        f"req {new} -keyout server.key -out server.csr -subj /CN=m1",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt "
        "-days 2 -extfile ext",
    ):
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)
    _plugins(folder / "plugins")
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)


def _plugins(folder: Path) -> None:
    """A server that follows another one looks for the client's plugins among its own."""
    folder.mkdir()
    for place in ("/usr/lib/mysql/plugin", "/usr/lib/*/libmariadb3/plugin"):
        for path in Path("/").glob(f"{place[1:]}/*.so"):
            (folder / path.name).symlink_to(path)


def tls_settings(folder: Path) -> str:
    """Return the settings by which a server uses :func:`certificates`."""
    return "\n".join(
        (
            f"ssl-ca = {folder}/ca.crt",
            f"ssl-cert = {folder}/server.crt",
            f"ssl-key = {folder}/server.key",
            f"plugin-dir = {folder}/plugins",
            "plugin-load-add = auth_ed25519",
        )
    )
