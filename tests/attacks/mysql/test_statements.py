"""An application's statements in a drill and in a restore: they are what the server took them for.

To the server ``--`` and a control character begin a comment. A client that was fed the log's text
saw the comment's content as statements of their own, and carried them out as root.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.mysql.hosts import CONFIRM, Site

_TABLE = "flights.smuggler"
_KEY = "/etc/dbops/secrets/mysql-flights-sql-repository.key"


def _plant(site: Site, *statements: str) -> None:
    """Create one table as the application's owner, ``statements`` in its comment."""
    smuggled = " /*!*/; ".join(statements)
    with site.connect("flights_owner") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {_TABLE} (a VARCHAR(300)) --\x01 /*!*/; {smuggled}")


@pytest.fixture
def whole(site: Site) -> Iterator[Site]:
    """The fleet, a full backup behind it, and the planted table gone afterwards."""
    site.take("full")
    yield site
    with site.connect("flights_owner") as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    site.take("full")


def _grants(site: Site) -> dict[str, str]:
    hosts = (
        "SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user WHERE User = 'flights_owner'"
    )
    found = {}
    for host in site.members:
        for account in site.ask(host, hosts).splitlines():
            found[f"{host} {account}"] = site.ask(host, f"SHOW GRANTS FOR {account}")
    return found


def test_a_drill_and_a_restore_carry_out_no_comment(whole: Site) -> None:
    """Not a file is read, no right gained, and neither drill nor restore is stopped by it."""
    site, before = whole, _grants(whole)
    _plant(
        site,
        "SET sql_log_bin = 0",
        "SELECT CURRENT_USER() INTO OUTFILE '/var/tmp/smuggled'",
        "GRANT SUPER, FILE ON *.* TO flights_owner",
        f"LOAD DATA LOCAL INFILE '{_KEY}' INTO TABLE flights.smuggler",
    )
    site.wait_archived()
    site.dbops("drill3", "drill", "run")
    assert site.root("drill3", "ls /var/tmp/smuggled", ok=False) == ""
    site.run_play("restore", *CONFIRM)
    site.wait_whole()
    assert _grants(site) == before
    assert site.ask(site.primary(), f"SHOW TABLES FROM flights LIKE '{_TABLE[8:]}'") == _TABLE[8:]
    for host in site.members:
        assert site.root(host, "ls /var/tmp/smuggled", ok=False) == ""
