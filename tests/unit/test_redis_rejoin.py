"""Whose replica a member is when its server starts, from what the Sentinels say."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "roles" / "redis" / "files" / "redis_rejoin.py"


@pytest.fixture
def rejoin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that runs the script: votes, live replicas, purpose, former state."""
    spec = importlib.util.spec_from_file_location("redis_rejoin", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(votes: dict[str, int], live: int = 0, purpose: str = "store", was: str = "") -> Any:
        state, config = tmp_path / "server.conf", tmp_path / "rejoin.json"
        state.write_text(was)
        config.write_text(json.dumps({
            "purpose": purpose, "self": ["10.0.0.1", "6379"], "quorum": 2, "state_file": str(state),
        }))  # fmt: skip
        counted = Counter({(host, "6379"): number for host, number in votes.items()})
        monkeypatch.setattr(module, "ask", lambda config: (counted, live))
        monkeypatch.setattr(sys, "argv", ["redis_rejoin.py", str(config)])
        return module.main(), state.read_text()

    return run


def test_a_former_primary_starts_as_a_replica_of_the_new_one(rejoin: Any) -> None:
    assert rejoin({"10.0.0.2": 2}) == (0, "replicaof 10.0.0.2 6379\n")


def test_the_primary_stays_one(rejoin: Any) -> None:
    assert rejoin({"10.0.0.1": 3}, live=1, was="replicaof 10.0.0.2 6379\n") == (0, "")


def test_too_few_sentinels_decide_nothing(rejoin: Any) -> None:
    assert rejoin({"10.0.0.2": 1}) == (0, "")
    assert rejoin({}, was="replicaof 10.0.0.2 6379\n") == (0, "replicaof 10.0.0.2 6379\n")


def test_copies_of_settings_are_not_kept(rejoin: Any) -> None:
    was = 'maxmemory 1mb\nreplicaof 10.0.0.2 6379\nmasterauth "x"\n'
    assert rejoin({}, was=was) == (0, "replicaof 10.0.0.2 6379\n")


def test_an_empty_cache_waits_while_replicas_live(rejoin: Any) -> None:
    assert rejoin({"10.0.0.1": 3}, live=1, purpose="cache")[0] == 1
    assert rejoin({"10.0.0.1": 3}, live=0, purpose="cache") == (0, "")
    assert rejoin({"10.0.0.2": 3}, live=1, purpose="cache") == (0, "replicaof 10.0.0.2 6379\n")
