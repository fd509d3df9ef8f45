"""What tests on this machine's own Redis servers share."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbops.engines.redis.options import Options
from tests.integration import ports
from tests.integration.redis.server import Server

Launch = Callable[..., Server]


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """Return where redis-server and its tools are, or ``DBOPS_TEST_REDIS_BIN``."""
    given = os.environ.get("DBOPS_TEST_REDIS_BIN")
    found = given or shutil.which("redis-server") or shutil.which("valkey-server")
    if not found:
        pytest.skip("redis-server is not installed")
    return Path(found) if given else Path(found).parent


@pytest.fixture(scope="session")
def options(bin_dir: Path) -> Options:
    """Return the options that say where the programs are."""
    flavor = "redis" if (bin_dir / "redis-server").exists() else "valkey"
    return Options.model_validate({"bin_dir": bin_dir, "flavor": flavor})


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has 107 characters at most."""
    path = Path(tempfile.mkdtemp(prefix="dbops-redis-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def launch(folder: Path, options: Options) -> Iterator[Launch]:
    """Return a function that starts one more server; all are ended after the test."""
    numbers, servers = itertools.count(1), []

    def start(port: bool = False, **more: str) -> Server:
        place = folder / f"server{next(numbers)}"
        server = Server(place, options.server, ports.free() if port else 0, **more)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()
