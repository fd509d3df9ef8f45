"""A scratch server with a private PostgreSQL's data in a real cell, without pgBackRest.

Needs PostgreSQL's server programs, root, bubblewrap and user namespaces, as a drill host does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbops.drill.isolation import Cell
from dbops.engines.postgresql import private_server, proofs
from dbops.engines.postgresql.private_server import Scratch
from dbops.errors import VerificationFailed
from dbops.manifest import compare
from tests.integration.pair import PORTS, Place, archive_all, pair

OUT_OF_REACH = (("10.255.255.1", 5432),)
FIRST_SEGMENT = "000000010000000000000001"
LIMIT_SECONDS = 60

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes cells")

_GUARD = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
  $$BEGIN RAISE EXCEPTION 'no change of the schema outside of its window'; END$$;
CREATE EVENT TRIGGER usual ON ddl_command_start EXECUTE FUNCTION refuse();
CREATE EVENT TRIGGER always ON ddl_command_end EXECUTE FUNCTION refuse();
ALTER EVENT TRIGGER always ENABLE ALWAYS;
"""
_NO_GUARD = "DROP EVENT TRIGGER usual; DROP EVENT TRIGGER always; DROP FUNCTION refuse"


@pytest.fixture(scope="module")
def place(programs: Path) -> Iterator[Place]:
    with pair(programs) as here:
        with here.connect("primary") as connection:
            connection.execute("CREATE DATABASE pattern")
            connection.execute("CREATE DATABASE frozen")
            connection.execute("ALTER DATABASE pattern IS_TEMPLATE true")
            connection.execute("ALTER DATABASE frozen ALLOW_CONNECTIONS false")
        with here.connect("primary", "pattern") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        yield here


@contextmanager
def filled(place: Place) -> Iterator[Scratch]:
    """Yield a scratch server with the primary's data, not started, beside its folder of log."""
    root = Path(tempfile.mkdtemp(prefix="dbops-scratch-"))
    cell = Cell("nobody", OUT_OF_REACH, root / "scratch")
    scratch = Scratch(cell.scratch, place.programs, "postgres", 5432, cell, "backup")
    root.chmod(0o711)
    try:
        private_server.create(scratch)
        source = ("-h", str(place.root), "-p", str(PORTS["primary"]), "-U", "postgres")
        place.run("pg_basebackup", *source, "-c", "fast", "-D", str(scratch.data))
        yield scratch
    finally:
        private_server.stop(scratch)
        shutil.rmtree(root)


# What came with the backup and would run by itself: a worker of a library, and one of a follower.
_WORKERS = "shared_preload_libraries = 'pg_prewarm'\nmax_logical_replication_workers = 4\n"
_FOLLOWER = (
    "CREATE SUBSCRIPTION follower CONNECTION 'host=/nowhere' PUBLICATION news "
    "WITH (connect = false, slot_name = NONE)"
)
# pg_subscription is told directly: by ALTER SUBSCRIPTION it would need a slot.
_ENABLED = "UPDATE pg_subscription SET subenabled = true, subslotname = 'follower'"
_OWN = {"background writer", "checkpointer", "client backend", "io worker", "walwriter"}


def hand_over(place: Place, scratch: Scratch) -> None:
    """Give the scratch server the log that has been archived."""
    archive_all(place)
    shutil.copytree(place.root / "archive", scratch.wal, dirs_exist_ok=True)
    private_server.hand_over(scratch)


def test_what_watches_the_schema_does_not_stop_the_drill_of_its_indexes(place: Place) -> None:
    with place.connect("primary") as connection:
        connection.execute(_GUARD)
    try:
        with filled(place) as scratch:
            hand_over(place, scratch)
            proofs.recover_newest(scratch, FIRST_SEGMENT, 1, LIMIT_SECONDS)
            assert "is sound" in proofs.check_indexes(scratch)
    finally:
        with place.connect("primary") as connection:
            connection.execute(_NO_GUARD)


# What a function now says is not in the index, as if its rows were sorted by another library.
_SORTED_OTHERWISE = """
CREATE FUNCTION same(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1$$;
CREATE TABLE words AS SELECT 'a' || g AS word FROM generate_series(1, 9) g;
CREATE INDEX ON words (same(word) COLLATE "und-x-icu");
CREATE OR REPLACE FUNCTION same(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'b'$$;
UPDATE pg_collation SET collversion = 'an older one' WHERE collname = 'und-x-icu';
"""


def test_nothing_that_came_along_runs_by_itself(place: Place) -> None:
    with place.connect("primary") as connection:
        connection.execute(_FOLLOWER)
        with filled(place) as scratch:
            connection.execute(_ENABLED)
            with (scratch.data / "postgresql.auto.conf").open("a") as stream:
                stream.write(_WORKERS)
            hand_over(place, scratch)
            connection.execute("UPDATE pg_subscription SET subenabled = false, subslotname = NULL")
            connection.execute("DROP SUBSCRIPTION follower")
            proofs.recover_newest(scratch, FIRST_SEGMENT, 1, LIMIT_SECONDS)
            with scratch.connect("app") as restored:
                query = "SELECT bool_and(subenabled) FROM pg_subscription"
                assert restored.execute(query).fetchall() == [(True,)]
                kinds = {
                    row[0] for row in restored.execute("SELECT backend_type FROM pg_stat_activity")
                }
    assert kinds <= _OWN


def test_an_index_that_is_out_of_order_names_a_collation_of_another_version(place: Place) -> None:
    with place.connect("primary") as connection:
        connection.execute(_SORTED_OTHERWISE)
    try:
        with filled(place) as scratch:
            hand_over(place, scratch)
            proofs.recover_newest(scratch, FIRST_SEGMENT, 1, LIMIT_SECONDS)
            with pytest.raises(VerificationFailed, match="pg_amcheck finds damage") as refused:
                proofs.check_indexes(scratch)
    finally:
        with place.connect("primary") as connection:
            connection.execute("DROP TABLE words; DROP FUNCTION same")
    assert "Collation 'und-x-icu' of database 'app' is of version" in str(refused.value)


def test_a_restored_server_is_met_and_says_the_same_of_what_is_left_out(place: Place) -> None:
    with filled(place) as scratch:
        (expected,) = place.take("standby")
        hand_over(place, scratch)
        proofs.recover_to(scratch, expected.point, 1, LIMIT_SECONDS)
        found = proofs.content(scratch, expected, whole=True)
    assert compare(expected, found) == []
    assert "pattern" in {one.database for one in found.databases}
    assert ("", "frozen") in {(one.database, one.name) for one in expected.omitted}
    assert found.omitted == expected.omitted
