"""What all tests share: a directory of target files and the fake engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from dbops import engines, targets
from dbops.targets import Target
from tests.contract import fake_engine

_BY_DIRECTORY = ("unit", "contract", "integration", "e2e", "attacks", "controller", "mirror")

WriteTarget = Callable[..., Target]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the directory it stands in."""
    for item in items:
        for part in item.path.parts:
            if part in _BY_DIRECTORY:
                item.add_marker(part)


class ByFleet(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """With several workers, gives all end-to-end tests of one engine to the same one.

    They share a lab. Elsewhere the tests of one file stay together.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the group that a test belongs to."""
        path, _, rest = nodeid.partition("::")
        if not path.startswith(("tests/e2e/", "tests/attacks/")):
            return path
        words = [*path.split("/"), *rest.partition("[")[2].rstrip("]").split("-")]
        return next((word for word in words if word in engines.NAMES), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFleet:
    """Return how tests are shared out among workers."""
    return ByFleet(config, log)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the engines ``fake`` (can do everything) and ``bare`` (can do nothing)."""
    for name, engine in (("fake", fake_engine.ENGINE), ("bare", fake_engine.BARE)):
        module = ModuleType(f"dbops.engines.{name}")
        vars(module)["ENGINE"] = engine
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(engines, "NAMES", (*engines.NAMES, "fake", "bare"))


@pytest.fixture
def write_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fakes: None) -> WriteTarget:
    """Return a function that writes a target file where the command line looks for it."""
    directory = tmp_path / "targets"
    directory.mkdir()
    monkeypatch.setenv("DBOPS_TARGETS_DIR", str(directory))

    def write(cluster: str = "flights", **changes: Any) -> Target:
        data: dict[str, Any] = {
            "schema_version": 1,
            "engine": "fake",
            "cluster": cluster,
            "part": "member",
            "member": "db1",
            "version": "1",
            "members": ["db1", "db2"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path / "state" / cluster),
            "options": {},
        }
        path = directory / f"{cluster}.json"
        path.write_text(json.dumps({**data, **changes}))
        path.chmod(0o640)
        return targets.load(cluster, directory)

    return write
