"""The fixtures of PostgreSQL's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.postgresql.hosts import Load, Site
from tests.e2e.state import changes, state


@pytest.fixture(scope="session")
def site(fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of("postgresql")
    assert isinstance(found, Site)
    return found


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
