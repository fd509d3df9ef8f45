"""The fixtures of Redis's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.redis.hosts import Load, Site


@pytest.fixture(scope="session")
def site(fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of("redis")
    assert isinstance(found, Site)
    return found


@pytest.fixture
def whole(site: Site) -> Site:
    """Return the fleet with one primary that all follow, mended if a test broke it."""
    site.heal()
    return site


@pytest.fixture
def load(whole: Site, tmp_path: Path) -> Load:
    """Return a writer with an empty ledger, not yet running."""
    return Load(whole, tmp_path / "ledger.txt")
