"""One lab for all end-to-end tests: bare hosts, ``site.yml``, real data and a first full backup.

``DBOPS_KEEP_LAB=1`` leaves the lab up for the next run; ``DBOPS_LAB`` and ``DBOPS_LAB_RELEASE``
choose another name and release.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo import flights, postgresql_data
from lab import fleet
from tests.e2e.postgresql.hosts import Load, Site, make
from tests.e2e.postgresql.state import changes, state


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Return the provisioned, filled and backed up fleet; it is torn down at the end."""
    found = make(
        os.environ.get("DBOPS_LAB", "test"), os.environ.get("DBOPS_LAB_RELEASE", "bookworm")
    )
    try:
        fleet.up(found.lab)
        play = found.run_play("site", ok=False)
        assert play.status == 0, f"site.yml failed on the way to the tests:\n{play.last_lines}"
        found.heal()
        with psycopg.connect(found.dsn("flights_owner"), autocommit=True) as connection:
            assert postgresql_data.load(connection) == flights.ROWS
        if not found.backups():
            found.take("full")
        yield found
    finally:
        if os.environ.get("DBOPS_KEEP_LAB") != "1":
            fleet.down(found.lab)


@pytest.fixture
def whole(site: Site) -> Site:
    """Return the fleet with its primary and its standby streaming, mended if a test broke it."""
    site.heal()
    return site


@pytest.fixture
def load(whole: Site, tmp_path: Path) -> Load:
    """Return a writer with an empty ledger, not yet running."""
    return Load(whole, tmp_path / "ledger.txt")


@pytest.fixture(scope="module")
def nothing_changes(site: Site) -> Iterator[None]:
    """Compare the whole fleet before a module's first test with that after its last."""
    site.heal()
    before = state(site)
    yield
    assert changes(before, state(site)) == []
    assert site.root("pg1", "ls -d /tmp/x /x /root/x /home/ops/x /etc/cron.d/x || true") == ""
