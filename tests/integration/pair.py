"""A private PostgreSQL with a standby and an archive, which tests may change at will.

Needs PostgreSQL's server programs; as root the servers run as the account ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbops.engines.postgresql import client, fingerprint
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.manifest import Fingerprint

PORTS = {"primary": 55471, "standby": 55472, "restored": 55473}
ROW_TYPES = """
CREATE TYPE pair AS (a int, b json);
CREATE TABLE "odd ""name"" $(id)" (
  "é;--" int PRIMARY KEY, j json, jb jsonb, x xml, p point, n numeric, big bigint, f float8,
  ts timestamptz, bits bit(4), a int[], ja json[], c pair, t text);
INSERT INTO "odd ""name"" $(id)" VALUES (1, '{"a":1}', '{"a":1}', '<a/>', '(1,2)', 1.0, 1, 0.1,
  '2026-01-01Z', '1010', '{1,2}', array['{}'::json], (1, '{}'), 'x');
CREATE TABLE none ();
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
INSERT INTO parts SELECT g, g FROM generate_series(1, 50) g;
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM parts;
CREATE UNLOGGED TABLE scrap (id int);
GRANT ALL ON SCHEMA public TO PUBLIC;
"""


@dataclass
class Place:
    """A primary and its standby on sockets in one directory."""

    root: Path
    programs: Path
    account: str

    def run(self, program: str, *arguments: str, check: bool = True) -> str:
        prefix = ["runuser", "-u", self.account, "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, str(self.programs / program), *arguments],
            cwd=self.root,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def start(self, name: str) -> None:
        directory = str(self.root / name)
        log = str(self.root / f"{name}.log")
        self.run("pg_ctl", "-D", directory, "-l", log, "-w", "-t", "60", "start")

    def stop(self, name: str) -> None:
        self.run("pg_ctl", "-D", str(self.root / name), "-m", "immediate", "stop", check=False)

    def connect(self, name: str, database: str = "app") -> Connection:
        found = client.connect_socket(self.root, PORTS[name], database, "postgres", self.account)
        found.execute("SET search_path = public")
        return found

    def options(self, name: str) -> Options:
        return Options(
            stanza="test",
            port=PORTS[name],
            socket_dir=self.root,
            backup_user="backup",
            os_user=self.account,
        )

    def take(self, name: str) -> tuple[Fingerprint, ...]:
        return fingerprint.take(self.options(name), self.root / "state", lambda words: None)

    def configure(self, name: str, *lines: str) -> None:
        file = self.root / name / "postgresql.auto.conf"
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)


@contextmanager
def pair(programs: Path) -> Iterator[Place]:
    """Yield the two, running; they are gone afterwards."""
    account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0 and not any(entry.pw_name == account for entry in pwd.getpwall()):
        pytest.skip("the account 'postgres', as which root runs the servers, does not exist")
    # Not pytest's own directory: root's is closed to other accounts, and socket paths are short.
    root = Path(tempfile.mkdtemp(prefix="dbops-pg-"))
    if os.geteuid() == 0:
        shutil.chown(root, account)
    here = Place(root, programs, account)
    try:
        build(here)
        yield here
    finally:
        for name in PORTS:
            here.stop(name)
        shutil.rmtree(root)


def build(place: Place) -> None:
    primary = str(place.root / "primary")
    place.run("initdb", "-k", "-D", primary, "-U", "postgres", "--auth=trust", "-E", "UTF8")
    os.mkdir(place.root / "archive", 0o700)
    shutil.chown(place.root / "archive", place.account)
    place.configure(
        "primary",
        f"port = {PORTS['primary']}",
        f"unix_socket_directories = '{place.root}'",
        "listen_addresses = ''",
        "wal_level = logical",
        "hot_standby_feedback = on",
        "archive_mode = on",
        f"archive_command = 'cp %p {place.root}/archive/%f'",
        "fsync = off",
        "shared_buffers = 32MB",
    )
    place.start("primary")
    with place.connect("primary", "postgres") as connection:
        connection.execute("CREATE ROLE backup LOGIN REPLICATION")
        connection.execute("GRANT pg_read_all_data TO backup")
        for function in (
            "pg_wal_replay_pause()",
            "pg_wal_replay_resume()",
            "pg_get_wal_replay_pause_state()",
        ):
            connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO backup")
        connection.execute("CREATE DATABASE app")
    place.run("pgbench", *bench(place), "-i", "-q", "-s", "2")
    with place.connect("primary") as connection:
        connection.execute(ROW_TYPES)
    copy(place, "standby", "-R")
    place.start("standby")


def bench(place: Place) -> tuple[str, ...]:
    return ("-h", str(place.root), "-p", str(PORTS["primary"]), "-U", "postgres", "app")


def copy(place: Place, name: str, *more: str) -> None:
    source = ("-h", str(place.root), "-p", str(PORTS["primary"]), "-U", "postgres")
    place.run("pg_basebackup", *source, "-c", "fast", "-D", str(place.root / name), *more)
    place.configure(name, f"port = {PORTS[name]}", "archive_mode = off")


def wait(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def archive_all(place: Place) -> None:
    with place.connect("primary") as connection:
        connection.execute("SELECT pg_create_restore_point('end')")
        row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchall()[0]
    wait(lambda: (place.root / "archive" / str(row[0])).exists())
