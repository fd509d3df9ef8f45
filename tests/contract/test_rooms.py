"""Rooms: a package holds a sentence and no code, so that entering one costs nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.contract.grid import ROOT

ROOMS = sorted(
    path
    for path in (ROOT / "dbops").rglob("__init__.py")
    if path.parent.name != "dbops" and "engines" not in path.parts
)


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.parent.name)
def test_a_room_runs_nothing_when_it_is_entered(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: say in a sentence what is in this room"
    assert len(tree.body) == 1, f"{path} runs code: every command that starts would wait for it"
