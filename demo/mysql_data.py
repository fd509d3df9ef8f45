"""The five tables in MySQL or MariaDB, and a client that commits rows to it without pause.

The client runs as a process of its own: ``python -m demo.mysql_data --hosts a,b …``. It tries the
members in turn and stays with the one that takes writes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import signal
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql

from demo.flights import ROWS, csv_files

DATABASE = "flights"
SCHEMA = (
    "CREATE TABLE airlines (carrier varchar(8) PRIMARY KEY, name varchar(128) NOT NULL)",
    "CREATE TABLE airports (faa varchar(8) PRIMARY KEY, name varchar(128) NOT NULL, "
    "lat double NOT NULL, lon double NOT NULL, alt int NOT NULL, tz int NOT NULL, "
    "dst varchar(4), tzone varchar(64))",
    "CREATE TABLE planes (tailnum varchar(16) PRIMARY KEY, year int, type varchar(64), "
    "manufacturer varchar(64), model varchar(64), engines int, seats int, speed int, "
    "engine varchar(64))",
    "CREATE TABLE weather (origin varchar(8) NOT NULL, year int NOT NULL, month int NOT NULL, "
    "day int NOT NULL, hour int NOT NULL, temp double, dewp double, humid double, "
    "wind_dir double, wind_speed double, wind_gust double, precip double, pressure double, "
    "visib double, time_hour varchar(32) NOT NULL, "
    "FOREIGN KEY (origin) REFERENCES airports (faa), KEY (origin, time_hour))",
    "CREATE TABLE flights (year int NOT NULL, month int NOT NULL, day int NOT NULL, "
    "dep_time int, sched_dep_time int NOT NULL, dep_delay double, arr_time int, "
    "sched_arr_time int NOT NULL, arr_delay double, carrier varchar(8) NOT NULL, "
    "flight int NOT NULL, tailnum varchar(16), origin varchar(8) NOT NULL, "
    "dest varchar(8) NOT NULL, air_time double, distance int NOT NULL, hour int NOT NULL, "
    "minute int NOT NULL, time_hour varchar(32) NOT NULL, "
    "FOREIGN KEY (carrier) REFERENCES airlines (carrier), "
    "FOREIGN KEY (origin) REFERENCES airports (faa), "
    "KEY (time_hour), KEY (origin, dest), KEY (tailnum))",
)
JOURNAL = (
    "CREATE TABLE journal (sequence bigint PRIMARY KEY, written_at timestamp(6) NOT NULL, "
    "note varchar(64) NOT NULL)"
)
_BATCH = 2000

Connection = Any


def connect(host: str, user: str, password: str, ca_file: Path) -> Connection:
    """Return an autocommit connection over TLS, the server's name verified; pymysql.Error if none.

    It waits three seconds at the most for an answer, so that a dead member does not hold up.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    return pymysql.connect(
        host=host, user=user, password=password, database=DATABASE, ssl=context, autocommit=True,
        connect_timeout=3, read_timeout=5, write_timeout=5, charset="utf8mb4",
    )  # fmt: skip


def connect_writable(
    hosts: Sequence[str], user: str, password: str, ca_file: Path
) -> tuple[str, Connection]:
    """Return the member of ``hosts`` that takes writes and a connection to it."""
    last: Exception = pymysql.OperationalError("no member to try")
    for host in hosts:
        try:
            connection = connect(host, user, password, ca_file)
        except (pymysql.Error, OSError) as error:
            last = error
            continue
        if _rows(connection, "SELECT @@global.read_only")[0][0] == 0:
            return host, connection
        connection.close()
        last = pymysql.OperationalError(f"{host} takes no writes")
    raise last


def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def load(connection: Connection) -> dict[str, int]:
    """Create and fill the tables unless they are there; return the rows found in each.

    The journal is made last: with it there the load was whole.
    """
    there = {row[0] for row in _rows(connection, "SHOW TABLES")}
    if "journal" not in there:
        with connection.cursor() as cursor:
            for table in reversed(ROWS):
                cursor.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in SCHEMA:
                cursor.execute(statement)
        for table, path in csv_files().items():
            _fill(connection, table, path)
        with connection.cursor() as cursor:
            cursor.execute(JOURNAL)
    return counts(connection)


def _fill(connection: Connection, table: str, path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        columns = next(reader)
        names = ", ".join(columns)
        marks = ", ".join(["%s"] * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 # our own names
        with connection.cursor() as cursor:
            for batch in _batches(reader):
                connection.begin()
                cursor.executemany(statement, batch)
                connection.commit()


def _batches(reader: Iterator[list[str]]) -> Iterator[list[list[str | None]]]:
    batch: list[list[str | None]] = []
    for row in reader:
        batch.append([None if value in ("NA", "") else value for value in row])
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def counts(connection: Connection) -> dict[str, int]:
    """Return the rows of each of the five tables."""
    found = {}
    for table in ROWS:
        found[table] = int(_rows(connection, f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608
    return found


def write(
    hosts: Sequence[str], user: str, password: str, ca_file: Path, path: Path, pause: float,
    stopped: list[bool],
) -> None:  # fmt: skip
    """Commit rows until ``stopped`` is filled, recording each acknowledged one in ``path``."""
    sequence = time.time_ns() // 1000  # never again a number whose answer was lost
    with path.open("a", encoding="utf-8", buffering=1) as ledger:
        while not stopped:
            connection = None
            try:
                host, connection = connect_writable(hosts, user, password, ca_file)
                ledger.write(f"# connected to {host} at {time.time():.3f}\n")
                with connection.cursor() as cursor:
                    while not stopped:
                        sequence = max(sequence + 1, time.time_ns() // 1000)
                        cursor.execute(
                            "INSERT INTO journal VALUES (%s, now(6), %s)",
                            (sequence, "written by the demo"),
                        )
                        ledger.write(f"{sequence} {time.time():.6f}\n")
                        time.sleep(pause)
            except (pymysql.Error, OSError) as error:
                first = " ".join(str(error).split())[:200]
                ledger.write(f"# interrupted at {time.time():.3f}: {first}\n")
                time.sleep(0.2)
            finally:
                if connection is not None:
                    with contextlib.suppress(pymysql.Error, OSError):
                        connection.close()


def main() -> int:
    """Entry point of ``python -m demo.mysql_data``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("hosts", "user", "password-file", "ca-file", "ledger"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between commits")
    given = parser.parse_args()
    stopped: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    password = Path(given.password_file).read_text(encoding="utf-8").strip()
    write(
        given.hosts.split(","), given.user, password, Path(given.ca_file), Path(given.ledger),
        given.pause, stopped,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
