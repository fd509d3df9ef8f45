"""The suite that every engine passes: each test here is run once for each of them."""

from __future__ import annotations

import pytest

from dbops import engines
from tests.e2e.conftest import FleetOf, chosen
from tests.e2e.same.site import Site


@pytest.fixture(scope="session", params=chosen(*engines.NAMES))
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return an engine's provisioned, filled and backed up fleet."""
    found = fleet_of(request.param)
    assert isinstance(found, Site)
    return found
