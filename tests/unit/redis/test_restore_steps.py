"""A restore's steps, word for word and in order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.engines.redis import rdb, restore
from dbops.repository import catalogue
from dbops.restore import set_aside
from tests.unit.redis.made import NOON, entry, target

KEPT = "store.set-aside-20260102T150000Z"
FOUND = (
    entry("20260102-120000F", NOON),
    entry("20260102-120000F_20260102-123000L", NOON + timedelta(minutes=30), "20260102-120000F"),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose server was stopped, at a known time."""
    monkeypatch.setattr(catalogue, "entries", lambda repo: FOUND)
    monkeypatch.setattr(rdb, "readable", lambda opts, format_: True)
    monkeypatch.setattr(set_aside, "name", lambda data_dir: data_dir.with_name(KEPT))
    directory = tmp_path / "store"
    (directory / "appendonlydir").mkdir(parents=True)
    return directory


def steps(data: Path, purpose: str = "store", **request: Any) -> list[str]:
    """Return a plan's lines, without the folder in which this test works."""
    settings = {"data_dir": str(data), "service": "store.service", "purpose": purpose}
    plan = restore.plan_restore(target(data.parent, **settings), RestoreRequest(**request))
    return [line.replace(str(data.parent), "/T") for line in runner.describe(plan)]


def test_every_step_of_a_restore_to_a_time(data: Path) -> None:
    assert steps(data, time=NOON + timedelta(minutes=10)) == [
        "systemctl stop store.service",
        f"rename /T/store to /T/{KEPT}",
        "make the directory /T/store",
        "fetch base and log of 20260102-120000F into /T/store, to 2026-01-02T12:10:00Z "
        f"(the former data is kept in /T/{KEPT})",
        "cut the log after 2026-01-02T12:10:00Z",
        "let check-aof read every file",
        "note in /T/state/restore.json that this restore is not proven",
        "systemctl start --no-block store.service",
        "wait until the server has loaded its data (at most 21600 s)",
        "make the server a primary, whatever it followed before",
        "verify that the server came up with the restored data and keeps them",
        "note in /T/state/restore.json that this restore is proven",
    ]


def test_every_step_of_a_cache_without_former_data(data: Path) -> None:
    (data / "appendonlydir").rmdir()
    assert steps(data, "cache", backup_id="20260102-120000F") == [
        "systemctl stop store.service",
        "make the directory /T/store",
        "fetch base of 20260102-120000F into /T/store, to the moment of backup 20260102-120000F, "
        "2026-01-02T12:00:00Z (there was no former data)",
        "let check-aof read every file",
        "make dump.rdb of the append-only files, which a cache does not read",
        "note in /T/state/restore.json that this restore is not proven",
        "systemctl start --no-block store.service",
        "wait until the server has loaded its data (at most 21600 s)",
        "make the server a primary, whatever it followed before",
        "verify that the server came up with the restored data and keeps them",
        "note in /T/state/restore.json that this restore is proven",
    ]
