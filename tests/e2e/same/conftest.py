"""The suite that every engine passes: each test here is run once for each of them."""

from __future__ import annotations

import pytest

from dbops import engines
from tests.e2e.conftest import FleetOf
from tests.e2e.hosts import Site


@pytest.fixture(scope="session", params=engines.NAMES)
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return an engine's provisioned, filled and backed up fleet."""
    return fleet_of(request.param)
