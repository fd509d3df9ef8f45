"""One lab for each engine's end-to-end tests: bare hosts, ``site.yml``, real data, a full backup.

Under molecule the fleet is the scenario's (``DBOPS_SCENARIO`` names the engine), provisioned
already, and stays for it to destroy. Otherwise it is made here: ``DBOPS_KEEP_LAB=1`` leaves the
labs up for the next run; ``DBOPS_LAB`` (``test``) begins their names and ``DBOPS_LAB_RELEASE``
chooses another release.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from lab import fleet
from lab.fleet import Lab
from tests.e2e.hosts import Load, Site
from tests.e2e.state import changes, state

FleetOf = Callable[[str], Site]
SCENARIO = os.environ.get("DBOPS_SCENARIO", "")


def chosen(*names: str) -> list[str]:
    """Return the engines out of ``names`` that are tested: the scenario's alone in a scenario."""
    return [name for name in names if SCENARIO in ("", name)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let migrations come last: their fleets keep settings that name a second cluster."""
    items.sort(key=lambda item: item.path.match("e2e/*/test_migrate.py"))


@pytest.fixture(scope="session")
def fleet_of() -> Iterator[FleetOf]:
    """Return a function that gives an engine's fleet, provisioned, filled and backed up."""
    with fleets(os.environ.get("DBOPS_LAB", "test")) as get:
        yield get


@contextmanager
def fleets(name: str) -> Iterator[FleetOf]:
    """Give a function that returns an engine's fleet, whose lab's name begins with ``name``.

    It is made at the first call and torn down at the end, unless it is molecule's; one that cannot
    be made is not tried again.
    """
    release = os.environ.get("DBOPS_LAB_RELEASE", "bookworm")
    made: dict[str, Site] = {}
    tried: set[str] = set()

    def get(engine: str) -> Site:
        if engine not in made:
            assert engine not in tried, f"{engine}'s fleet could not be made: see the first failure"
            tried.add(engine)
            lab = Lab(f"{'molecule' if SCENARIO else name}-{engine}", release, (engine,))
            site: Site = import_module(f"tests.e2e.{engine}.hosts").Site(lab)
            if not SCENARIO:
                _provision(site)
            made[engine] = _filled(site)
        return made[engine]

    yield get
    if not SCENARIO and os.environ.get("DBOPS_KEEP_LAB") != "1":
        for engine in tried:
            fleet.down(Lab(f"{name}-{engine}", release, (engine,)))


@pytest.fixture
def whole(site: Site) -> Site:
    """Return the fleet with one primary that everybody follows, mended if a test broke it.

    ``site`` is the fleet of the folder that the test is in.
    """
    site.heal()
    return site


@pytest.fixture
def load(whole: Site, tmp_path: Path) -> Load:
    """Return a writer with an empty ledger, not yet running."""
    return whole.writer(tmp_path / "ledger.txt")


@pytest.fixture(scope="module")
def nothing_changes(site: Site) -> Iterator[None]:
    """Compare the whole fleet before a module's first test with that after its last."""
    site.heal()
    before = state(site)
    yield
    assert changes(before, state(site)) == []
    left = "ls -d /tmp/x /x /root/x /home/ops/x /etc/cron.d/x || true"
    assert site.root(site.members[0], left) == ""


def _provision(site: Site) -> None:
    fleet.up(site.lab)
    play = site.run_play("site", ok=False)
    assert play.status == 0, f"site.yml failed on the way to the tests:\n{play.last_lines}"


def _filled(site: Site) -> Site:
    site.heal()
    site.load()
    if not any(backup["kind"] == "full" for backup in site.backups()):
        site.take("full")
    return site
