"""The five tables in PostgreSQL, and a client that commits rows to it without pause.

The client runs as a process of its own: ``python -m demo.postgresql_data --hosts a,b …``.
"""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

import psycopg
from psycopg import sql

from demo.flights import ROWS, csv_files

SCHEMA = """
CREATE TABLE airlines (carrier text PRIMARY KEY, name text NOT NULL);
CREATE TABLE airports (faa text PRIMARY KEY, name text NOT NULL, lat double precision NOT NULL,
    lon double precision NOT NULL, alt integer NOT NULL, tz integer NOT NULL, dst text,
    tzone text);
CREATE TABLE planes (tailnum text PRIMARY KEY, year integer, type text, manufacturer text,
    model text, engines integer, seats integer, speed integer, engine text);
CREATE TABLE weather (origin text NOT NULL REFERENCES airports, year integer NOT NULL,
    month integer NOT NULL, day integer NOT NULL, hour integer NOT NULL, temp double precision,
    dewp double precision, humid double precision, wind_dir double precision,
    wind_speed double precision, wind_gust double precision, precip double precision,
    pressure double precision, visib double precision, time_hour timestamptz NOT NULL);
CREATE TABLE flights (year integer NOT NULL, month integer NOT NULL, day integer NOT NULL,
    dep_time integer, sched_dep_time integer NOT NULL, dep_delay double precision,
    arr_time integer, sched_arr_time integer NOT NULL, arr_delay double precision,
    carrier text NOT NULL REFERENCES airlines, flight integer NOT NULL, tailnum text,
    origin text NOT NULL REFERENCES airports, dest text NOT NULL, air_time double precision,
    distance integer NOT NULL, hour integer NOT NULL, minute integer NOT NULL,
    time_hour timestamptz NOT NULL);
"""
INDEXES = """
CREATE INDEX weather_origin_time ON weather (origin, time_hour);
CREATE INDEX flights_time ON flights (time_hour);
CREATE INDEX flights_route ON flights (origin, dest);
CREATE INDEX flights_tailnum ON flights (tailnum);
CREATE TABLE journal (sequence bigint PRIMARY KEY, written_at timestamptz NOT NULL,
    note text NOT NULL);
"""


def load(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, int]:
    """Create and fill the tables unless they are there; return the rows found in each.

    The connection is the application owner's, over TLS. All or nothing: one transaction.
    """
    with connection.transaction():
        connection.execute("SET search_path = flights")
        there = connection.execute("SELECT to_regclass('flights.journal')").fetchone()
        if there is None or there[0] is None:
            connection.execute(SCHEMA)
            for table, path in csv_files().items():
                _copy(connection, table, path)
            connection.execute(INDEXES)
    return counts(connection)


def _copy(connection: psycopg.Connection[tuple[object, ...]], table: str, path: Path) -> None:
    with path.open("rb") as stream:
        header = stream.readline().decode().strip().replace('"', "").split(",")
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in header)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, NULL 'NA')").format(
            sql.Identifier(table), columns
        )
        with connection.cursor().copy(statement) as copy:
            while block := stream.read(1 << 20):
                copy.write(block)


def counts(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, int]:
    """Return the rows of each of the five tables."""
    found = {}
    for table in ROWS:
        query = sql.SQL("SELECT count(*) FROM flights.{}").format(sql.Identifier(table))
        row = connection.execute(query).fetchone()
        assert row is not None
        found[table] = int(str(row[0]))
    return found


def conninfo(hosts: str, user: str, passfile: Path, ca_file: Path, database: str) -> str:
    """Return the connection string of an application that follows the primary, TLS verified."""
    return psycopg.conninfo.make_conninfo(
        host=hosts, user=user, passfile=str(passfile), dbname=database, sslmode="verify-full",
        sslrootcert=str(ca_file), target_session_attrs="read-write", connect_timeout=3,
        keepalives_idle=2, keepalives_interval=1, keepalives_count=2, tcp_user_timeout=4000,
        application_name="flights-writer",
    )  # fmt: skip


def write(dsn: str, path: Path, pause: float, stopped: list[bool]) -> None:
    """Commit rows until ``stopped`` is filled, recording each acknowledged one in ``path``."""
    sequence = time.time_ns() // 1000  # never again a number whose answer was lost
    with path.open("a", encoding="utf-8", buffering=1) as ledger:
        while not stopped:
            try:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    ledger.write(f"# connected to {connection.info.host} at {time.time():.3f}\n")
                    while not stopped:
                        sequence += 1
                        connection.execute(
                            "INSERT INTO flights.journal VALUES (%s, clock_timestamp(), %s)",
                            (sequence, "written by the demo"),
                        )
                        ledger.write(f"{sequence} {time.time():.6f}\n")
                        time.sleep(pause)
            except psycopg.Error as error:
                first = str(error).strip().splitlines()[:1]
                ledger.write(
                    f"# interrupted at {time.time():.3f}: {first[0] if first else error}\n"
                )
                time.sleep(0.2)


def main() -> int:
    """Entry point of ``python -m demo.postgresql_data``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("hosts", "user", "passfile", "ca-file", "database", "ledger"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between commits")
    given = parser.parse_args()
    stopped: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    dsn = conninfo(
        given.hosts, given.user, Path(given.passfile), Path(given.ca_file), given.database
    )
    write(dsn, Path(given.ledger), given.pause, stopped)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
