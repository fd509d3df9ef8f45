"""The fixtures of MariaDB's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.hosts import Load
from tests.e2e.mysql.hosts import Site


@pytest.fixture(scope="session")
def site(fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of("mysql")
    assert isinstance(found, Site)
    return found


@pytest.fixture
def whole(site: Site) -> Site:
    """Return the fleet with its primary and its replica following, mended if a test broke it."""
    site.heal()
    return site


@pytest.fixture
def load(whole: Site, tmp_path: Path) -> Load:
    """Return a writer with an empty ledger, not yet running."""
    return Load(whole, tmp_path / "ledger.txt")
