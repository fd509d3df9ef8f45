"""Labs that make their hosts at the same time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import faults, fleet
from lab.fleet import Lab
from lab.machine import podman


@pytest.fixture
def two() -> Iterator[tuple[Lab, ...]]:
    """Return two labs of one host each, not yet up, whose hosts have the same name."""
    name = os.environ.get("DBOPS_LAB", "test")
    labs = tuple(Lab(f"{name}-{which}", "bookworm", (), ("twin",)) for which in ("one", "two"))
    yield labs
    for lab in labs:
        fleet.down(lab)


def _folders(lab: Lab) -> set[str]:
    """Return the folders of the machine that the lab's host has in itself."""
    about = json.loads(podman("inspect", lab.container("twin")))[0]
    return {mount["Source"] for mount in about["Mounts"]}


def test_none_shares_its_lists_of_packages(two: tuple[Lab, ...]) -> None:
    """One would take the lists that the other is just fetching for whole."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(fleet.up, two))
    one, other = (_folders(lab) for lab in two)
    assert len(one) == len(other) == 2
    assert not one & other


def test_a_host_that_is_off_keeps_its_own(two: tuple[Lab, ...]) -> None:
    fleet.up(two[0])
    faults.kill(two[0], "twin")
    fleet.up(two[1])
    assert not _folders(two[0]) & _folders(two[1])


def test_lists_that_a_host_threw_away_are_not_fresh_to_the_next(two: tuple[Lab, ...]) -> None:
    """Ansible's apt would not fetch them again, and find no package."""
    fleet.up(two[0])
    fleet.inside(two[0], "twin", "sh", "-c", "rm -rf /var/lib/apt/lists/*")
    fleet.down(two[0])
    fleet.up(two[1])
    assert fleet.inside(two[1], "twin", "stat", "-c", "%Y", "/var/lib/apt/lists").strip() == "0"
