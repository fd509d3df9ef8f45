"""What would be lost with every member: told by each engine's repository host, and by it alone."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbops import engines, status
from dbops.engines.postgresql import stored_log
from dbops.monitor import samples
from dbops.targets import Target

pytestmark = pytest.mark.unit

_SUM = "0" * 40


def _target(engine: str, tmp_path: Path, part: str) -> Target:
    options: dict[str, Any] = {"repo_path": str(tmp_path / "repo")}
    if engine == "postgresql":
        options["stanza"] = "flights"
    else:
        options |= {"repo_password_file": "/x", "hosts": {"db1": "10.0.0.1"}}
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": engine,
            "cluster": "flights",
            "part": part,
            "member": "db1",
            "version": "1",
            "members": ["db1"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path / "state"),
            "options": options | ({"scratch_dir": str(tmp_path)} if part == "drill" else {}),
        }
    )


def _told(target: Target) -> dict[str, float]:
    collect = engines.get(target.engine).collect
    assert collect is not None
    found = [one for one in collect(target) if one.name.startswith("dbops_rpo_exposure")]
    return {one.name.removeprefix("dbops_rpo_exposure_"): one.value for one in found}


def _stored(engine: str, target: Target, repo: Path, at: float) -> None:
    """Let log be there up to a moment: as a file of the archive, or as the status notes it."""
    if engine == "postgresql":
        name = "0000000200000001000000AB"
        _segment(repo, "15-1", f"{name}-{_SUM}.zst", at)
    else:
        newest = datetime.fromtimestamp(at, UTC).isoformat()
        status.update(target, "catalogue", {"newest": newest})


def _segment(repo: Path, generation: str, name: str, at: float) -> None:
    path = repo / "archive" / "flights" / generation / name[:16] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("log")
    os.utime(path, (at, at))


@pytest.mark.parametrize("engine", engines.NAMES)
def test_the_repository_host_of_every_engine_tells_it(engine: str, tmp_path: Path) -> None:
    target = _target(engine, tmp_path, "repository")
    target.state_dir.mkdir()
    assert _told(target) == {"seconds": 0, "known": 0}
    _stored(engine, target, tmp_path / "repo", time.time() - 90)
    found = _told(target)
    assert found["known"] == 1
    assert found["seconds"] == pytest.approx(90, abs=5)


@pytest.mark.parametrize("engine", engines.NAMES)
def test_no_other_host_tells_it(engine: str, tmp_path: Path) -> None:
    target = _target(engine, tmp_path, "drill")
    target.state_dir.mkdir()
    assert _told(target) == {}


def test_a_clock_that_is_behind_makes_no_negative_loss() -> None:
    (seconds, known) = samples.exposure(2000.0, 1000.0)
    assert (seconds.value, known.value) == (0, 1)


def test_the_newest_segment_counts_and_nothing_else_in_the_archive(tmp_path: Path) -> None:
    _segment(tmp_path, "15-1", f"000000010000000000000009-{_SUM}.zst", 100.0)
    _segment(tmp_path, "15-1", f"000000010000000100000001-{_SUM}.zst", 200.0)
    _segment(tmp_path, "15-1", f"000000010000000200000001-{_SUM}.zst.pgbackrest.tmp", 400.0)
    _segment(tmp_path, "15-1", "0000000100000001.history", 500.0)
    folder = tmp_path / "archive" / "flights" / "15-1"
    (folder / "FFFFFFFFFFFFFFFF").symlink_to(tmp_path)
    assert stored_log.newest(tmp_path, "flights") == 200.0
    _segment(tmp_path, "16-2", f"000000010000000000000002-{_SUM}", 300.0)
    assert stored_log.newest(tmp_path, "flights") == 300.0
    assert stored_log.newest(tmp_path, "other") is None
