"""The heartbeat beside a private PostgreSQL: the log reaches the archive in time after a crash."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbops.engines.postgresql import heartbeat
from tests.integration.cluster import PORT, Cluster
from tests.unit.postgresql import made

ARCHIVING = """
archive_mode = on
archive_timeout = 1s
checkpoint_timeout = 1h
"""


@pytest.fixture
def primary(programs: Path) -> Iterator[Cluster]:
    """A primary that archives into a folder, with an account for heartbeats."""
    directory = Path(tempfile.mkdtemp(prefix="dbops-beat-"))
    archive = directory / "archive"
    archive.mkdir()
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
        shutil.chown(archive, "postgres", "postgres")
    cluster = Cluster(directory, programs)
    try:
        cluster.start()
        with (cluster.data / "postgresql.conf").open("a") as stream:
            stream.write(ARCHIVING + f"archive_command = 'cp %p {archive}/%f'\n")
        cluster.stop()
        cluster.start()
        cluster.run("CREATE SCHEMA dbops")
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(directory)


@contextmanager
def beating(cluster: Cluster, tmp_path: Path) -> Iterator[None]:
    """Let the heart beat."""
    account = "postgres" if os.geteuid() == 0 else None
    target = made.target(
        tmp_path,
        "member",
        socket_dir=str(cluster.directory),
        config_dir=str(cluster.directory),
        port=PORT,
        heartbeat_user="postgres",
        heartbeat_interval_seconds=0.1,
        **({"agent_user": account} if account else {}),
    )
    ended = threading.Event()
    thread = threading.Thread(target=heartbeat.heartbeat, args=(target, ended.is_set))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def archived(cluster: Cluster) -> int:
    """Return how many segments have been archived."""
    return len(list((cluster.directory / "archive").iterdir()))


def more_than(cluster: Cluster, number: int, seconds: float = 15) -> None:
    """Wait until more segments than ``number`` have been archived."""
    end = time.monotonic() + seconds
    while archived(cluster) <= number:
        assert time.monotonic() < end, "nothing more was archived"
        time.sleep(0.05)


def test_after_a_crash_the_log_goes_on_to_the_archive(
    primary: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "GRACE_SECONDS", 0.5)
    with beating(primary, tmp_path):
        more_than(primary, 1)
        primary.stop()
        primary.start()
        before = archived(primary)
        more_than(primary, before)
        more_than(primary, before + 1)


def test_a_segment_that_is_not_due_is_left_alone(primary: Cluster, tmp_path: Path) -> None:
    primary.run("ALTER SYSTEM SET archive_timeout = '1h'", "SELECT pg_reload_conf()")
    with beating(primary, tmp_path):
        more_than(primary, 0)
        beats = "SELECT sequence FROM dbops.heartbeat"
        while primary.rows(beats)[0][0] < 20:
            time.sleep(0.05)
    assert archived(primary) == 1
