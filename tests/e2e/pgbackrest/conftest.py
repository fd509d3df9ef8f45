"""What PostgreSQL passes as the engine that keeps its backups in pgBackRest's repository."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FleetOf
from tests.e2e.postgresql.hosts import Site


@pytest.fixture(scope="session", params=["postgresql"])
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return the provisioned, filled and backed up fleet."""
    found = fleet_of(request.param)
    assert isinstance(found, Site)
    return found
