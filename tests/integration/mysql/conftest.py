"""Real servers for the tests of the MySQL column; skipped where their programs are absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.engines.mysql import backup
from tests.integration.mysql.machine import Member
from tests.integration.mysql.site import Site
from tests.integration.mysql.store import stream_command


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip where the server programs are not installed."""
    for name in ("mariadbd", "mariadb-backup", "mariadb-binlog", "mbstream", "zstd"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: lab/servers.sh")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which the server's account may pass through."""
    path = Path(tempfile.mkdtemp(prefix="dbops-mysql-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def running(programs: None) -> Iterator[Member]:
    """A server that runs for all tests here."""
    path = Path(tempfile.mkdtemp(prefix="dbops-mysql-", dir="/tmp"))
    path.chmod(0o755)
    member = Member(path / "m").install().start()
    yield member
    member.stop()
    shutil.rmtree(path)


@pytest.fixture
def member(running: Member) -> Iterator[Member]:
    """The server, clean."""
    yield running
    running.wipe()


@pytest.fixture
def own(programs: None, folder: Path) -> Iterator[Member]:
    """A server of the test's own, which it may stop, kill and restore."""
    found = Member(folder / "own").install().start()
    yield found
    found.stop()


@pytest.fixture
def settings() -> str:
    """Further lines of the option file of the site's member."""
    return ""


@pytest.fixture
def site(
    programs: None, folder: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A member and its repository host; what SSH would carry is called directly."""
    if shutil.which("restic") is None or os.geteuid() != 0:
        pytest.skip("restic is not installed, or this is not root")
    found = Site(folder, settings)
    monkeypatch.setattr(
        backup, "command", lambda opts, member, asked: stream_command(found.member, asked)
    )
    yield found
    found.member.stop()
