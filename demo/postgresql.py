"""PostgreSQL's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from demo import postgresql_data
from demo.fleet import Fleet, writing
from lab import faults

ERRORS = (psycopg.Error,)


class PostgresqlFleet(Fleet):
    """PostgreSQL's hosts of the lab, and how an application reaches them."""

    engine = "postgresql"
    cluster = "flights"
    members: tuple[str, ...] = ("pg1", "pg2")
    repository = "backup1"
    account = "pgbackrest"
    drill = "drill1"
    what = "a synchronous pair, secured, with backups, drills and metrics"
    options = ("-e", "postgresql_synchronous=true")
    source = "standby"

    def passfile(self, role: str) -> Path:
        """Return a password file for ``role``, readable by its owner only."""
        path = self.lab.state / f"{role}.pgpass"
        path.touch(mode=0o600)
        path.write_text(f"*:*:*:{role}:{self.secret(role)}\n")
        return path

    @property
    def addresses(self) -> str:
        """The members' addresses as libpq takes them."""
        return ",".join(self.lab.address(host) for host in self.members)

    def dsn(self, role: str) -> str:
        """Return how an application reaches whoever is primary, as ``role``."""
        return postgresql_data.conninfo(
            self.addresses, role, self.passfile(role), self.ca_file, self.cluster
        )

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Keep a writer running, in a process of its own, while the block runs."""
        argv = ["demo.postgresql_data", "--hosts", self.addresses, "--user", "flights_writer",
                "--passfile", str(self.passfile("flights_writer")),
                "--ca-file", str(self.ca_file), "--database", self.cluster,
                "--ledger", str(path)]  # fmt: skip
        with writing(argv):
            yield

    def load(self) -> None:
        """Fill the five tables unless they are there."""
        with psycopg.connect(self.dsn("flights_owner"), autocommit=True) as connection:
            postgresql_data.load(connection)

    def counts(self) -> dict[str, int]:
        """Return the rows of each of the five tables."""
        with psycopg.connect(self.dsn("flights_owner")) as connection:
            return postgresql_data.counts(connection)

    def stored(self) -> set[int]:
        """Return the numbers of the writer's rows that the database has."""
        with psycopg.connect(self.dsn("flights_owner")) as connection:
            rows = connection.execute("SELECT sequence FROM flights.journal").fetchall()
        return {int(row[0]) for row in rows}

    def writable(self) -> str:
        """Return the name of the member that accepts writes now."""
        with psycopg.connect(self.dsn("flights_owner")) as connection:
            address = connection.info.host
        return next(host for host in self.members if self.lab.address(host) == address)

    def destroy(self, host: str) -> None:
        """Kill the database server of ``host`` without warning and remove its data directory."""
        faults.on(
            self.lab,
            host,
            "kill -9 $(head -1 /var/lib/postgresql/*/main/postmaster.pid); "
            "systemctl stop 'postgresql@*' 2>/dev/null; rm -rf /var/lib/postgresql/*/main",
        )


FLEET = PostgresqlFleet
