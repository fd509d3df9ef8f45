"""The fleet that attacks on PostgreSQL are tried on."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.postgresql.hosts import Site


@pytest.fixture(scope="session")
def site(fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of("postgresql")
    assert isinstance(found, Site)
    return found
