"""A private PostgreSQL on this machine, which tests may change at will."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from plugins.module_utils.postgresql_access.converge import Server

PORT = 55441
HBA = "local all postgres trust\nlocal all all scram-sha-256\n"
CONFIG = """
listen_addresses = ''
log_statement = 'all'
log_min_duration_statement = 0
fsync = off
max_connections = 30
shared_buffers = 16MB
"""


class Cluster:
    """A private PostgreSQL on a Unix socket."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self.programs = programs
        self.data = directory / "data"
        self.server = Server(str(directory), PORT, "postgres", lock_timeout_seconds=2)

    def program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, never as root."""
        argv = [str(self.programs / name), *arguments]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", "postgres", "--", *argv]
        subprocess.run(argv, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

    def start(self) -> None:
        """Make the cluster when it is not there, and start it."""
        if not self.data.exists():
            self.program("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N")
            with (self.data / "postgresql.conf").open("a") as stream:
                stream.write(CONFIG + f"port = {PORT}\n")
                stream.write(f"unix_socket_directories = '{self.directory}'\n")
            (self.data / "pg_hba.conf").write_text(HBA)
        self.program("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "start")

    def stop(self) -> None:
        """Stop it at once."""
        self.program("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    @property
    def log(self) -> Path:
        """Where the server writes its log."""
        return self.directory / "log"

    def connect(self, database: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Open a connection, as superuser unless told otherwise."""
        user = more.pop("user", "postgres")
        return psycopg.connect(
            host=str(self.directory), port=PORT, dbname=database, user=user, autocommit=True, **more
        )

    def run(self, *statements: str | sql.Composed, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode() if isinstance(statement, str) else statement)

    def rows(self, query: str, *parameters: Any, database: str = "postgres") -> list[Any]:
        """Return the rows of a query."""
        with self.connect(database) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def wipe(self) -> None:
        """Bring the server back to what initdb left, as far as these tests go."""
        for (name,) in self.rows("SELECT datname FROM pg_database WHERE oid > 16383"):
            self.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        found = self.rows("SELECT rolname FROM pg_roles WHERE oid > 16383")
        identifiers = [sql.Identifier(name) for (name,) in found]
        for name in identifiers:
            self.run(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
        for name in identifiers:
            self.run(sql.SQL("DROP ROLE {}").format(name))
        self.run("GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC")
