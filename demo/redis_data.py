"""The five tables in Redis, and a client that writes to it without pause.

A row is a hash ``flights:TABLE:NUMBER``. The set ``flights:TABLE`` holds the numbers of the rows of
``airlines``, ``airports`` and ``planes``; the sorted set ``flights:TABLE`` those of ``weather`` and
``flights``, by their time. The client's writes are fields of the hash ``flights:journal``.

The client runs as a process of its own: ``python -m demo.redis_data --sentinels a,b,c …``.
"""

from __future__ import annotations

import argparse
import csv
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from redis import Redis, RedisError
from redis.sentinel import Sentinel

from demo.flights import ROWS, csv_files

JOURNAL = "flights:journal"
_BY_TIME = ("weather", "flights")
_BATCH = 2000


@dataclass(frozen=True)
class Application:
    """How an application reaches whoever is primary now: through the Sentinels, TLS verified."""

    sentinels: tuple[str, ...]
    cluster: str
    user: str
    password_file: Path
    certificate: Path
    key: Path
    ca_file: Path

    def connect(self) -> Redis:
        """Return a client of the primary, which asks the Sentinels at each new connection."""
        how: dict[str, Any] = {
            "username": self.user,
            "password": self.password_file.read_text(encoding="utf-8").strip(),
            "ssl": True,
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.key),
            "ssl_ca_certs": str(self.ca_file),
            "ssl_check_hostname": True,
            "socket_timeout": 3,
            "socket_connect_timeout": 3,
        }
        listed = [(host, 26379) for host in self.sentinels]
        asked: Any = Sentinel  # without types of its own
        client: Redis = asked(listed, sentinel_kwargs=how, **how).master_for(self.cluster)
        return client


def load(client: Redis, most: int | None = None) -> dict[str, int]:
    """Fill the tables that are not whole, with ``most`` rows each at most; return those found."""
    for table, path in csv_files().items():
        if counts(client)[table] != rows(most)[table]:
            with path.open(encoding="utf-8", newline="") as stream:
                found = islice(enumerate(csv.DictReader(stream), 1), most)
                while batch := list(islice(found, _BATCH)):
                    _store(client, table, batch)
    return counts(client)


def rows(most: int | None = None) -> dict[str, int]:
    """Return the rows of each table, when a table has ``most`` at most."""
    return {table: min(number, most or number) for table, number in ROWS.items()}


def _store(client: Redis, table: str, batch: list[tuple[int, dict[str, Any]]]) -> None:
    pipeline = client.pipeline(transaction=False)
    for number, row in batch:
        known: dict[Any, Any] = {name: value for name, value in row.items() if value != "NA"}
        pipeline.hset(f"flights:{table}:{number}", mapping=known)
    if table in _BY_TIME:
        pipeline.zadd(f"flights:{table}", {str(n): _time(row) for n, row in batch})
    else:
        pipeline.sadd(f"flights:{table}", *(str(number) for number, _ in batch))
    pipeline.execute()


def _time(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["time_hour"].replace(" ", "T")).timestamp()


def counts(client: Redis) -> dict[str, int]:
    """Return the rows of each of the five tables."""
    return {
        table: int((client.zcard if table in _BY_TIME else client.scard)(f"flights:{table}"))
        for table in ROWS
    }


def write(application: Application, path: Path, pause: float, stopped: list[bool]) -> None:
    """Write until ``stopped`` is filled, recording each acknowledged write in ``path``."""
    sequence = time.time_ns() // 1000  # never again a number whose answer was lost
    client = application.connect()
    with path.open("a", encoding="utf-8", buffering=1) as ledger:
        while not stopped:
            try:
                sequence += 1
                client.hset(JOURNAL, str(sequence), f"{time.time():.6f}")
                ledger.write(f"{sequence} {time.time():.6f}\n")
                time.sleep(pause)
            except (RedisError, OSError) as error:
                ledger.write(f"# interrupted at {time.time():.3f}: {str(error).splitlines()[:1]}\n")
                time.sleep(0.2)


def main() -> int:
    """Entry point of ``python -m demo.redis_data``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sentinels", "cluster", "user", "password-file", "certificate", "key", "ca-file",
                 "ledger"):  # fmt: skip
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between writes")
    given = parser.parse_args()
    stopped: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    application = Application(
        tuple(given.sentinels.split(",")), given.cluster, given.user, Path(given.password_file),
        Path(given.certificate), Path(given.key), Path(given.ca_file),
    )  # fmt: skip
    write(application, Path(given.ledger), given.pause, stopped)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
