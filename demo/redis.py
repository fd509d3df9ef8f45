"""Redis's demo: lose the primary with its data, restore to the last moment, prove it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import RedisError

from demo import redis_data
from demo.fleet import Fleet, writing
from lab import faults

ERRORS = (RedisError,)


class RedisFleet(Fleet):
    """Redis's hosts of the lab, and how an application reaches them."""

    engine = "redis"
    cluster = "flights-store"
    members: tuple[str, ...] = ("redis1", "redis2")
    repository = "backup2"
    account = "dbops-repository"
    drill = "drill2"
    what = "two members, three Sentinels, secured, with backups, drills and metrics"
    source = "hidden replica"
    loss_seconds = 2.0  # replication does not wait for the hidden replica

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

    def counts(self) -> dict[str, int]:
        """Return the rows of each of the five tables."""
        with self.application().connect() as client:
            return redis_data.counts(client)

    def stored(self) -> set[int]:
        """Return the numbers of the writer's writes that the database has."""
        with self.application().connect() as client:
            return {int(field) for field in client.hkeys(redis_data.JOURNAL)}

    def writable(self) -> str:
        """Return the name of the member that accepts writes now."""
        line = "cat /var/lib/dbops-redis/*/server/server.conf | grep -q ^replicaof || hostname"
        found = [self.ssh(host, "sh", "-c", f"'{line}'").strip() for host in self.members]
        return next(host for host in self.members if host in found)

    def destroy(self, host: str) -> None:
        """Kill the database server of ``host`` without warning and remove its data directory."""
        faults.on(
            self.lab,
            host,
            "systemctl kill --signal=KILL 'dbops-redis-flights-store.service'; "
            "systemctl stop 'dbops-redis-flights-store.service'; "
            "rm -rf /var/lib/redis/flights-store",
        )

    def victims(self) -> tuple[str, ...]:
        """Return both members: only the hidden replica is left."""
        return self.members


FLEET = RedisFleet
