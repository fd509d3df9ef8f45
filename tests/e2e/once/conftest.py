"""What has no engine's part in it and needs hosts: told on one fleet, Redis's unless asked."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import SCENARIO, FleetOf
from tests.e2e.same.site import Site


@pytest.fixture(scope="session", params=[SCENARIO or "redis"])
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return an engine's provisioned, filled and backed up fleet."""
    found = fleet_of(request.param)
    assert isinstance(found, Site)
    return found
