"""What tests on this machine's own servers share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return the directory of PostgreSQL's server programs: the newest, or ``DBOPS_TEST_PG_BIN``.

    Tests that need them are skipped where there are none.
    """
    given = os.environ.get("DBOPS_TEST_PG_BIN")
    if given:
        return Path(given)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and (elsewhere := shutil.which("initdb")):
        found = [Path(elsewhere)]
    if not found:
        pytest.skip("PostgreSQL's server programs (initdb) are not installed")
    return found[-1].parent


@pytest.fixture(scope="session")
def running(programs: Path) -> Iterator[Cluster]:
    """A server that runs for all tests here."""
    directory = Path(f"/tmp/dbops-access-{os.getpid()}")
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    cluster = Cluster(directory, programs)
    try:
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The server, clean."""
    yield running
    running.wipe()
