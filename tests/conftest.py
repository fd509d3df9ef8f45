"""What all tests share: a directory of target files and the fake engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dbops import engines, targets
from dbops.targets import Target
from tests.contract import fake_engine

_BY_DIRECTORY = ("unit", "contract", "integration", "e2e")

WriteTarget = Callable[..., Target]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the directory it stands in; what shares a server or a lab stays together.

    With several workers (``-n 2 --dist loadgroup``) one engine's end-to-end tests are all run by
    the same one, and so are those of one file elsewhere.
    """
    for item in items:
        for part in item.path.parts:
            if part in _BY_DIRECTORY:
                item.add_marker(part)
        item.add_marker(pytest.mark.xdist_group(_together(item)))


def _together(item: pytest.Item) -> str:
    if "e2e" not in item.path.parts:
        return str(item.path)
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters.get("site", item.path.parent.name))


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
