"""Runs beside other runs, readers and writers."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from plugins.module_utils.postgresql_access.converge import LOCK, Server
from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, converge_to, refuse


def test_it_waits_for_another_run_only_so_long(cluster: Cluster) -> None:
    with cluster.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        assert refuse(cluster, roles=[{"name": "app"}]).startswith("Another run is at work: ")
        assert converge_to(cluster, check=True, roles=[]).steps == []
        assert converge_to(cluster, roles=[]).steps == []


def test_readers_and_writers_are_not_held_up(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run("CREATE TABLE app.t (a int)", database="flights")
    with cluster.connect("flights") as busy, busy.transaction():
        busy.execute("INSERT INTO app.t VALUES (1)")
        agree(cluster, **FLIGHTS)


def test_two_runs_at_once_both_end_well(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = []
    # The others' tests do not wait as long: here the third waits for two whole runs.
    patient = replace(cluster.server, lock_timeout_seconds=Server.lock_timeout_seconds)
    monkeypatch.setattr(cluster, "server", patient)

    def work() -> None:
        try:
            converge_to(cluster, **FLIGHTS)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert converge_to(cluster, **FLIGHTS).steps == []
