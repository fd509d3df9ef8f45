"""What every engine passes that keeps its backups in restic's repository."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FleetOf, chosen
from tests.e2e.restic.site import Site


@pytest.fixture(scope="session", params=chosen("mysql", "redis"))
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return an engine's provisioned, filled and backed up fleet."""
    found = fleet_of(request.param)
    assert isinstance(found, Site)
    return found
