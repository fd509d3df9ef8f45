"""A whole cluster moves to a newer PostgreSQL on other hosts while a client writes, and back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from demo import flights, postgresql_data
from lab import fleet
from lab.fleet import Lab
from tests.e2e.hosts import wait
from tests.e2e.postgresql.hosts import Load, Site

NEXT = "flights-next"
INVENTORY = fleet.CHECKOUT / "inventories" / "migrate"
LEFTOVERS = """SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical')
  + (SELECT count(*) FROM pg_subscription)"""


def sql(site: Site, host: str, statement: str, database: str = "flights") -> str:
    """Return what psql prints as the superuser of ``host``, who may write to a closed database."""
    done = site.run(host, "psql", "-XAtqd", database, "-c", statement, user="postgres")
    assert done.status == 0, done.said
    return done.stdout.strip()


@pytest.fixture(scope="module")
def two(site: Site) -> Iterator[Site]:
    """Return the fleet with a second, empty cluster beside it, of a newer release."""
    site.heal()
    wide = Lab(site.lab.name, "trixie", more=("next1", "vault1"))
    fleet.up(wide)
    both = Site(wide)
    both.members = (*both.members, "next1")
    both.beside = ("-i", str(INVENTORY))
    both.run_play("site")
    yield both
    both.remove("next1", "vault1")
    fleet.up(site.lab)


@pytest.fixture(scope="module")
def ticketed(two: Site) -> Site:
    """Return the fleet with a table whose numbers come from a sequence, all tables followable."""
    with psycopg.connect(two.dsn("flights_owner"), autocommit=True) as connection:
        for table in ("flights", "weather"):  # as published, without a key
            connection.execute(f"ALTER TABLE flights.{table} REPLICA IDENTITY FULL")
        connection.execute("DROP TABLE IF EXISTS flights.ticket")
        connection.execute(
            "CREATE TABLE flights.ticket (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "holder text NOT NULL)"
        )
        connection.execute(
            "INSERT INTO flights.ticket (holder) SELECT 'someone' FROM generate_series(1, 500)"
        )
    for host in (two.primary(), "next1"):  # a second database, which nobody declared
        sql(two, host, "CREATE DATABASE fares", "postgres")
    sql(two, two.primary(), "CREATE TABLE fare (a int PRIMARY KEY)", "fares")
    sql(two, two.primary(), "INSERT INTO fare SELECT generate_series(1, 1000)", "fares")
    return two


@pytest.fixture
def load(ticketed: Site, tmp_path: Path) -> Load:
    """Return a writer that tries the hosts of both clusters, not yet running."""
    return ticketed.writer(tmp_path / "ledger.txt")


@pytest.fixture
def written(load: Load) -> Iterator[Site]:
    """Return the fleet while a client writes to it, which it must be able to at the end, too."""
    with load.running():
        load.more(20)
        yield load.site
        load.more(20)


def test_a_new_cluster_archives_from_the_start(two: Site) -> None:
    def works() -> bool:
        return all(one["ok"] for one in two.checks("next1") if one["name"] == "archiver works")

    wait(works, 20, "the archiver of a cluster made a minute ago")


def test_a_table_that_could_not_be_followed_is_refused_before_anything(ticketed: Site) -> None:
    with psycopg.connect(ticketed.dsn("flights_owner"), autocommit=True) as connection:
        connection.execute("CREATE TABLE flights.bare (a int)")
        play = ticketed.migrate("start", NEXT, ok=False)
        connection.execute("DROP TABLE flights.bare")
    assert play.status != 0
    assert "REPLICA IDENTITY FULL: flights.bare." in play.said
    assert sql(ticketed, ticketed.primary(), "SELECT count(*) FROM pg_publication") == "0"


def test_the_copy_follows_and_is_proven_while_a_client_writes(written: Site) -> None:
    site = written
    site.migrate("start", NEXT)
    site.migrate("start", NEXT)  # a second run finds all of it there
    site.migrate("prove", NEXT)
    states = site.dbops("next1", "migrate", "status", "--json").json()
    assert states["proven_at"]
    flying, faring = sorted(states["databases"], key=lambda one: one["database"], reverse=True)
    assert (flying["database"], faring["database"]) == ("flights", "fares")
    assert all(one["follows"] and not one["open"] for one in (flying, faring))
    assert flying["copied"] == flying["tables"] > 5
    assert site.writable() != "next1"


def test_one_changed_value_is_found(written: Site) -> None:
    site = written
    change = "UPDATE flights.airlines SET name = name || {} WHERE carrier = 'UA'"
    sound = "UPDATE flights.airlines SET name = left(name, -1) WHERE carrier = 'UA'"
    sql(site, "next1", change.format("'!'"))
    play = site.migrate("prove", NEXT, ok=False)
    sql(site, "next1", sound)
    assert "differ in 1 tables, the first is flights.airlines" in play.said
    confirm = ("-e", f"dbops_confirm={NEXT}")
    play = site.migrate("switch", NEXT, *confirm, ok=False)
    assert "not proven equal" in play.said


@contextmanager
def stalled(site: Site, host: str) -> Iterator[None]:
    """Keep ``host`` from applying the last write of a switch while the block runs.

    All before it is applied: log that is held up longer than ``archive_timeout`` grows by segments.
    """
    argv = ("psql", "-Xqd", "flights", "-c", "SET default_transaction_read_only = off", "-c",
            "BEGIN", "-c", "LOCK dbops_migrate.marker IN EXCLUSIVE MODE", "-c",
            "SELECT pg_sleep(600)")  # fmt: skip
    locks = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND locktype = 'relation'"
    with ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(site.run, host, *argv, user="postgres")
        wait(lambda: site.ask(host, f"{locks} AND granted") != "0", 20, "the lock")
        try:
            yield
        finally:
            sleeping = "FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
            site.ask(host, f"SELECT pg_terminate_backend(pid) {sleeping}")
            blocker.result()


def test_a_switch_that_cannot_end_leaves_the_writers_where_they_were(written: Site) -> None:
    site = written
    site.migrate("prove", NEXT)
    with stalled(site, "next1"):
        play = site.migrate("switch", NEXT, "-e", f"dbops_confirm={NEXT}", ok=False)
    assert "did not arrive within 15 s" in play.said
    assert "takes writes as before" in play.said
    assert site.writable() != "next1"


def test_the_switch_asks_for_the_name(ticketed: Site) -> None:
    play = ticketed.migrate("switch", NEXT, "-e", "dbops_confirm=flights", ok=False)
    assert "repeat the command with -e dbops_confirm=CLUSTER" in play.said


def test_writers_move_and_nothing_is_lost(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(20)
        site.migrate("prove", NEXT)
        site.migrate("switch", NEXT, "-e", f"dbops_confirm={NEXT}")
        load.more(100)
    assert site.writable() == "next1"
    state = site.dbops("next1", "migrate", "status", "--json").json()
    assert 0 < state["pause_seconds"] < 10
    assert all(one["open"] for one in state["databases"])
    assert sql(site, "next1", "SELECT count(*) FROM fare", "fares") == "1000"
    load.nothing_lost()
    with psycopg.connect(site.dsn("flights_owner"), autocommit=True) as connection:
        assert connection.info.server_version >= 170000
        assert postgresql_data.counts(connection) == flights.ROWS
        row = connection.execute(
            "INSERT INTO flights.ticket (holder) VALUES ('the next') RETURNING number"
        ).fetchone()
    assert row == (501,)


def test_a_rerun_of_site_undoes_nothing_of_it(ticketed: Site) -> None:
    ticketed.converged()
    assert ticketed.writable() == "next1"


def test_the_way_back_loses_nothing_though_its_first_switch_is_killed(load: Load) -> None:
    site = load.site
    old = site.primary()
    back = ("switch", "flights", "-e", "dbops_confirm=flights")
    closed = """SELECT count(*) FROM pg_db_role_setting
      WHERE setrole = 0 AND setconfig::text ~ 'read_only=on'"""
    with load.running():
        load.more(20)
        site.migrate("prove", "flights")
        with stalled(site, old), ThreadPoolExecutor(1) as pool:
            killed = pool.submit(site.migrate, *back, ok=False)
            wait(lambda: site.ask("next1", closed) == "2", 90, "the switch to close next1")
            site.root(old, "kill -9 $(pgrep -f '[d]bops migrate switch')")
            assert killed.result().status != 0
        site.migrate(*back)
        load.more(100)
    assert site.writable() != "next1"
    load.nothing_lost()
    with psycopg.connect(site.dsn("flights_owner"), autocommit=True) as connection:
        rows = connection.execute("SELECT holder FROM flights.ticket WHERE number = 501").fetchall()
        assert rows == [("the next",)]
        assert postgresql_data.counts(connection) == flights.ROWS


def test_finish_leaves_nothing_behind(ticketed: Site) -> None:
    ticketed.migrate("finish", "flights", "-e", "dbops_confirm=flights")
    for host in (ticketed.writable(), "next1"):
        assert ticketed.ask(host, LEFTOVERS) == "0", host
        for database in ("flights", "fares"):
            schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'dbops_migrate'"
            assert sql(ticketed, host, schemas, database) == "0"
    with psycopg.connect(ticketed.dsn("flights_owner"), autocommit=True) as connection:
        connection.execute("DROP TABLE flights.ticket")
    sql(ticketed, ticketed.primary(), "DROP DATABASE fares WITH (FORCE)", "postgres")
