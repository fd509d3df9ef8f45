"""The exporter: text that parses, answers in time, nothing open to strangers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dbops.contract import Sample
from dbops.errors import ConfigError, Refused
from dbops.exporter.collecting import Collector, Fleet
from dbops.exporter.server import Server, Tls, encode, parse_listen
from tests.conftest import WriteTarget
from tests.contract import fake_engine


def values(samples: tuple[Sample, ...], name: str) -> list[float]:
    return [sample.value for sample in samples if sample.name == name]


def test_text_parses_with_hostile_labels() -> None:
    hostile = 'a"b\\c\nd é'
    text = encode(
        [
            Sample("m_seconds", 1.5, (("l", hostile), ("file", "\udcff")), "Help\nme"),
            Sample("n_total", 2, (), "", "counter"),
            Sample("m_seconds", float("nan"), (("l", "x"),)),
            Sample("bad name", 1),
            Sample("n_total", 3, (), "", "counter"),
        ]
    ).decode()
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("l") != "x"
    }
    assert found["m_seconds"].labels == {"l": hostile, "file": "\\udcff"}
    assert found["m_seconds"].value == 1.5
    assert "# TYPE n_total counter\nn_total 3.0\n" in text
    assert text.count("\nn_total ") == 1


def test_labels_and_up_are_added(write_target: WriteTarget) -> None:
    result = Collector(write_target()).collect(5)
    assert result.fresh
    assert values(result.samples, "dbops_up") == [1]
    for sample in result.samples:
        labels = dict(sample.labels)
        assert (labels["engine"], labels["cluster"]) == ("fake", "flights")


def test_a_hung_server_is_down_in_time_and_costs_one_thread(write_target: WriteTarget) -> None:
    collector = Collector(write_target(options={"hang_seconds": 3}))
    before = threading.active_count()
    began = time.monotonic()
    first = collector.collect(0.3)
    assert time.monotonic() - began < 1
    assert values(first.samples, "dbops_up") == [0]
    assert values(first.samples, "dbops_exporter_collector_success") == [0]
    began = time.monotonic()
    for _ in range(20):
        collector.collect(0.3)
    assert time.monotonic() - began < 0.5
    assert threading.active_count() == before + 1


def test_series_never_vanish(write_target: WriteTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector(write_target())
    healthy = collector.collect(5)
    wait = threading.Event()

    def hang(target: object) -> Iterator[Sample]:
        wait.wait(10)
        yield Sample("dbops_up", 1)

    engine = replace(fake_engine.ENGINE, collect=hang)
    monkeypatch.setattr("dbops.engines.get", lambda name: engine)
    stale = collector.collect(0.2)
    wait.set()
    assert {sample.name for sample in healthy.samples} == {s.name for s in stale.samples}
    assert values(stale.samples, "dbops_up") == [0]
    assert values(stale.samples, "dbops_replication_lag_seconds") == [1.5]
    assert values(healthy.samples, "dbops_replication_lag_seconds_known") == [1]
    assert values(stale.samples, "dbops_replication_lag_seconds_known") == [0]
    assert values(stale.samples, "dbops_exporter_collector_timeout_total") == [1]


def test_an_engine_that_throws_is_down(
    write_target: WriteTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_target()

    def fail(name: str) -> None:
        raise RuntimeError("x")

    monkeypatch.setattr("dbops.engines.get", fail)
    result = Collector(target).collect(5)
    assert values(result.samples, "dbops_up") == [0]
    assert result.failure == "RuntimeError: x"


def test_a_bad_target_file_is_reported_once_and_hides_nothing(
    write_target: WriteTarget, tmp_path: Path
) -> None:
    write_target("flights")
    write_target("hotels")
    said: list[str] = []
    fleet = Fleet(tmp_path / "targets", said.append)
    assert len(fleet.collect(5)) == 2
    (tmp_path / "targets" / "hotels.json").write_text("{")
    assert {result.target.cluster for result in fleet.collect(5)} == {"flights", "hotels"}
    fleet.collect(5)
    assert len(said) == 1
    assert [sample.value for sample in fleet.unreadable()] == [0, 1]
    write_target("trains")
    assert len(fleet.collect(5)) == 3


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9600", ("127.0.0.1", 9600)),
        ("[::1]:1", ("::1", 1)),
        ("localhost:2", ("127.0.0.1", 2)),
    ],
)
def test_listen(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize("text", ["9600", ":9600", "x:9600", "127.0.0.1:", "127.0.0.1:99999", ""])
def test_bad_listen(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_listen(text)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.5", "::"])
def test_strangers_need_tls(address: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--client-ca"):
        Server((address, 0), Fleet(tmp_path), 1, None)


def test_bad_tls_files_are_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(ConfigError, match="absent"):
        Server(("127.0.0.1", 0), Fleet(tmp_path), 1, Tls(absent, absent, absent, frozenset()))


@contextmanager
def serving(server: Server) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_serves_metrics_and_nothing_else(write_target: WriteTarget, tmp_path: Path) -> None:
    write_target()
    with serving(Server(("127.0.0.1", 0), Fleet(tmp_path / "targets"), 5, None)) as port:
        status, text = get(port, "/metrics")
        assert status == 200
        assert get(port, "/etc/passwd")[0] == 404
    assert 'dbops_up{cluster="flights",engine="fake",instance_name="db1"} 1.0\n' in text
    assert 'dbops_exporter_target_file_unusable{cluster="flights"} 0.0\n' in text
