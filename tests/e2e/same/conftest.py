"""The suite that every engine passes: each test here is run once for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops import engines
from tests.e2e.conftest import FleetOf
from tests.e2e.hosts import Load, Site
from tests.e2e.state import changes, state


@pytest.fixture(scope="session", params=engines.NAMES)
def site(request: pytest.FixtureRequest, fleet_of: FleetOf) -> Site:
    """Return an engine's provisioned, filled and backed up fleet."""
    return fleet_of(request.param)


@pytest.fixture
def whole(site: Site) -> Site:
    """Return the fleet with one primary that everybody follows, mended if a test broke it."""
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
    left = "ls -d /tmp/x /x /root/x /home/ops/x /etc/cron.d/x || true"
    assert site.root(site.members[0], left) == ""
