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
    """Return a function that runs the script: votes, live replicas, purpose, former state, data.

    ``data`` tells whether a store's data are there, ``begun`` whether it has run before.
    """
    spec = importlib.util.spec_from_file_location("redis_rejoin", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(
        votes: dict[str, int],
        live: int = 0,
        purpose: str = "store",
        was: str = "",
        data: bool = True,
        begun: bool = True,
    ) -> Any:
        state, config = tmp_path / "server.conf", tmp_path / "rejoin.json"
        log, mark = tmp_path / "appendonly.aof.manifest", tmp_path / "begun"
        state.write_text(was)
        log.write_text("file a seq 1 type b\n" if data else "")
        mark.touch() if begun else mark.unlink(missing_ok=True)
        files = {"data_file": str(log), "begun_file": str(mark)} if purpose == "store" else {}
        config.write_text(json.dumps({
            "purpose": purpose, "self": ["10.0.0.1", "6379"], "quorum": 2, "state_file": str(state),
            **files,
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


def test_a_store_whose_data_are_gone_never_is_an_empty_primary(
    rejoin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rejoin({"10.0.0.1": 3}, live=2, data=False)[0] == 1
    assert "waits until another member is primary" in capsys.readouterr().err
    assert rejoin({"10.0.0.1": 3}, data=False)[0] == 1, "nor without a live replica"
    assert rejoin({}, data=False)[0] == 1, "nor while no Sentinel answers"
    assert "restore; to begin with nothing, remove" in capsys.readouterr().err
    assert rejoin({"10.0.0.1": 3}, data=False, begun=False, live=1)[0] == 1


def test_a_store_without_data_starts_as_a_replica(rejoin: Any) -> None:
    other = "replicaof 10.0.0.2 6379\n"
    assert rejoin({"10.0.0.2": 2}, live=1, data=False) == (0, other)
    assert rejoin({}, was=other, data=False) == (0, other)


def test_a_new_store_starts_empty(rejoin: Any) -> None:
    assert rejoin({}, data=False, begun=False) == (0, "")
    assert rejoin({"10.0.0.1": 3}, data=False, begun=False) == (0, "")


def test_what_a_former_version_wrote_does_not_keep_a_primary_down(
    rejoin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = json.load
    without = {"data_file", "begun_file"}
    monkeypatch.setattr(
        json, "load", lambda stream: {k: v for k, v in read(stream).items() if k not in without}
    )
    assert rejoin({"10.0.0.1": 3}, live=1) == (0, "")
