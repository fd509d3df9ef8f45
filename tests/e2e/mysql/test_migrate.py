"""A whole cluster moves to a newer MariaDB on other hosts while a client writes, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from demo import flights, mysql_data
from lab import fleet
from tests.e2e.hosts import Load, Play
from tests.e2e.mysql.hosts import CLUSTER, Site

NEXT = "flights-next"
INVENTORY = fleet.CHECKOUT / "inventories" / "migrate-mysql"


@pytest.fixture(scope="module")
def two(site: Site) -> Iterator[Site]:
    """Return the fleet with a second, empty cluster beside it, of a newer release."""
    site.heal()
    wide = replace(site.lab, release="trixie", more=("next1", "vault1"))
    fleet.up(wide)
    both = Site(wide)
    both.members = (*both.members, "next1")
    both.beside = ("-i", str(INVENTORY))
    both.run_play("site")
    yield both
    both.remove("next1", "vault1")
    fleet.up(site.lab)


@pytest.fixture
def load(two: Site, tmp_path: Path) -> Load:
    """Return a writer that tries the hosts of both clusters, not yet running."""
    return two.writer(tmp_path / "ledger.txt")


def migrate(site: Site, step: str, to: str = NEXT, ok: bool = True, confirm: str = "") -> Play:
    """Run one step of the migration, with the name that it asks for."""
    return site.migrate(step, to, "-e", f"dbops_confirm={confirm or to}", ok=ok)


def _at(site: Site, host: str, user: str = "flights_owner") -> Any:
    secret = site.secret(f"mysql_{user}")
    return mysql_data.connect(site.lab.address(host), user, secret, site.ca_file)


def _write(site: Site, host: str, number: int) -> None:
    with _at(site, host, "flights_writer") as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO journal VALUES (%s, now(6), 'by hand')", (number,))


def test_the_switch_asks_for_the_name(two: Site) -> None:
    play = migrate(two, "switch", ok=False, confirm=CLUSTER)
    assert play.status != 0
    assert "exact name" in play.said


def test_there_and_back_loses_nothing(load: Load) -> None:
    two = load.site
    assert isinstance(two, Site)
    former = next(host for host in two.members if _writable(two, host) and host != "next1")
    with load.running():
        load.more(50)
        migrate(two, "start")
        two.run_play("site")  # it undoes nothing of it
        load.more(50)
        migrate(two, "prove")
        load.more(50)
        migrate(two, "switch")
        load.more(50)  # the same client, now on the other side
    load.nothing_lost()
    with _at(two, "next1") as connection:
        assert mysql_data.counts(connection) == flights.ROWS
    with pytest.raises(pymysql.Error):
        _write(two, former, 2)

    with load.running():
        load.more(50)
        migrate(two, "prove", CLUSTER)
        migrate(two, "switch", CLUSTER)
        load.more(50)
    load.nothing_lost()
    with pytest.raises(pymysql.Error):
        _write(two, "next1", 3)
    links = two.ask("next1", "SHOW ALL SLAVES STATUS")
    assert "\tYes\tYes\t" in links, f"the side that was left does not follow: {links}"
    two.root(former, "systemctl restart mariadb")
    assert _writable(two, former), "the primary came back read-only"
    migrate(two, "finish", CLUSTER)
    two.root("next1", "systemctl restart mariadb")
    assert not _writable(two, "next1"), "the side that was left came back open"
    with _at(two, former) as connection:
        assert mysql_data.counts(connection) == flights.ROWS


def _writable(site: Site, host: str) -> bool:
    return site.ask(host, "SELECT @@read_only", ok=False) == "0"
