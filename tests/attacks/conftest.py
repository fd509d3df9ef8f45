"""Attacks: a test here acts as somebody who took over an account or a host, and must get nowhere.

One fleet for each engine, as the end-to-end tests have. Each test leaves its fleet whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import FleetOf, fleets


@pytest.fixture(scope="session")
def fleet_of() -> Iterator[FleetOf]:
    """Return a function that gives an engine's fleet, provisioned, filled and backed up."""
    with fleets(os.environ.get("DBOPS_LAB", "attacks")) as get:
        yield get
