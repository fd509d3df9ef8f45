"""The fleet that attacks on Redis are tried on."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.redis.hosts import Site


@pytest.fixture(scope="session")
def site(fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of("redis")
    assert isinstance(found, Site)
    return found
