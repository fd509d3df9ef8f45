"""MariaDB's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from demo import mysql_data
from demo.fleet import Fleet, writing
from lab import faults

ERRORS = (pymysql.Error, OSError)


class MysqlFleet(Fleet):
    """MariaDB's hosts of the lab, and how an application reaches them."""

    engine = "mysql"
    cluster = "flights-sql"
    members: tuple[str, ...] = ("mysql1", "mysql2")
    repository = "backup3"
    account = "dbops-repository"
    drill = "drill3"
    what = "a semi-synchronous pair, secured, with backups, drills and metrics"
    options = ("-e", "mysql_semi_sync=true")
    source = "replica"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The members' addresses."""
        return tuple(self.lab.address(host) for host in self.members)

    def connect(self, user: str) -> Any:
        """Return a connection to whoever takes writes, as ``user`` of the application."""
        return mysql_data.connect_writable(
            self.addresses, user, self.secret(f"mysql_{user}"), self.ca_file
        )[1]

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Keep a writer running, in a process of its own, while the block runs."""
        argv = ["demo.mysql_data", "--hosts", ",".join(self.addresses), "--user", "flights_writer",
                "--password-file", str(self.secrets / "mysql_flights_writer"),
                "--ca-file", str(self.ca_file), "--ledger", str(path)]  # fmt: skip
        with writing(argv):
            yield

    def load(self) -> None:
        """Fill the five tables unless they are there."""
        mysql_data.load(self.connect("flights_owner"))

    def counts(self) -> dict[str, int]:
        """Return the rows of each of the five tables."""
        with self.connect("flights_owner") as connection:
            return mysql_data.counts(connection)

    def stored(self) -> set[int]:
        """Return the numbers of the writer's rows that the database has."""
        with self.connect("flights_owner") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT sequence FROM journal")
            return {int(row[0]) for row in cursor.fetchall()}

    def writable(self) -> str:
        """Return the name of the member that accepts writes now."""
        address, connection = mysql_data.connect_writable(
            self.addresses, "flights_owner", self.secret("mysql_flights_owner"), self.ca_file
        )
        connection.close()
        return self.members[self.addresses.index(address)]

    def destroy(self, host: str) -> None:
        """Kill the database server of ``host`` without warning and remove its data directory."""
        faults.on(
            self.lab,
            host,
            "kill -9 $(systemctl show -p MainPID --value mariadb); systemctl stop mariadb; "
            "rm -rf /var/lib/mysql/main",
        )


FLEET = MysqlFleet
