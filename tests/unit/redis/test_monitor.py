"""Samples from fixtures: never absent, and never calm when the link is cut."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dbops.contract import Sample
from dbops.engines.redis import client, member_metrics, monitor, replication_metrics
from dbops.monitor.target import Seen, followed
from tests.unit.redis.made import target

NOW = 1_800_000_000.0


def values(samples: Iterable[Sample]) -> dict[str, float]:
    """Return samples by name and labels."""
    return {
        sample.name + "".join(f"/{value}" for _, value in sample.labels): sample.value
        for sample in samples
    }


def replica(seen: Seen, now: float, beat: float, **info: str) -> dict[str, float]:
    """Return what a replica says of itself."""
    return values(followed(beat, replication_metrics.replica(info, beat, seen, now), now))


UP = {"master_link_status": "up", "master_last_io_seconds_ago": "1"}
DOWN = {"master_link_status": "down", "master_last_io_seconds_ago": "-1"}


def test_a_healthy_replica() -> None:
    info = UP | {"slave_repl_offset": "1000", "slave_read_repl_offset": "1200"}
    found = replica(Seen(), NOW, NOW - 1.5, **info)
    assert found["dbops_replication_link_up"] == 1
    assert found["dbops_replication_lag_seconds"] == 1.5
    assert found["dbops_replication_lag_bytes"] == 200
    assert found["dbops_replication_lag_bytes_known"] == 1


def test_a_cut_link_shows_growing_lag() -> None:
    seen = Seen()
    replica(seen, NOW - 10, NOW - 10, **UP, slave_repl_offset="1000")
    replica(seen, NOW, NOW, **UP, slave_repl_offset="1500")
    first = replica(seen, NOW + 20, NOW, **DOWN, slave_repl_offset="1500")
    later = replica(seen, NOW + 60, NOW, **DOWN, slave_repl_offset="1500")
    assert first["dbops_replication_link_up"] == 0
    assert first["dbops_replication_lag_seconds"] == 20
    assert 900 < first["dbops_replication_lag_bytes"] < later["dbops_replication_lag_bytes"]
    assert first["dbops_replication_lag_bytes_known"] == 0
    assert first.keys() == later.keys()


def test_a_silent_primary_is_no_link() -> None:
    info = {"master_link_status": "up", "master_last_io_seconds_ago": "60"}
    assert replica(Seen(), NOW, NOW, **info)["dbops_replication_link_up"] == 0


def test_a_replica_that_is_gone_stays_in_the_primary_s_view(tmp_path: Path) -> None:
    primary = target(tmp_path)
    online = {
        "role": "master",
        "master_repl_offset": "1500",
        "slave0": "ip=10.0.0.2,port=6379,state=online,offset=1400,lag=0",
    }
    before = values(replication_metrics.collect(primary, online))
    gone = {"role": "master", "master_repl_offset": "9500"}
    after = values(replication_metrics.collect(primary, gone))
    assert before["dbops_replica_lag_bytes/db1/db2"] == 100
    assert before["dbops_replica_connected/db1/db2"] == 1
    assert after["dbops_replica_lag_bytes/db1/db2"] == 8100
    assert after["dbops_replica_connected/db1/db2"] == 0
    assert before.keys() == after.keys()


def test_keys_of_an_empty_server() -> None:
    found = values(member_metrics.keys({"expired_keys": "7"}))
    assert found["dbops_keys/0"] == 0
    assert found["dbops_expired_keys_total"] == 7
    found = values(member_metrics.keys({"db0": "keys=1,expires=0", "db3": "keys=5,expires=2"}))
    assert found["dbops_keys/3"] == 5
    assert found["dbops_keys_expiring/3"] == 2


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, 0),
        ({"aof_last_write_status": "err"}, 1),
        ({"aof_last_bgrewrite_status": "err"}, 1),
        ({"rdb_last_bgsave_status": "err"}, 1),
    ],
)
def test_data_that_do_not_reach_the_disk(change: dict[str, str], failing: int) -> None:
    info = {"aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok", "loading": "0"} | change
    assert values(member_metrics.persistence(info))["dbops_persistence_failing"] == failing


@pytest.mark.parametrize("part", ["repository", "drill"])
def test_a_host_with_nothing_done_yet_has_all_its_series(tmp_path: Path, part: str) -> None:
    options: dict[str, Any] = {"schedule_interval_seconds": {"full": 86400, "log": 60}}
    found = values(monitor.collect(target(tmp_path, part, **options)))
    if part == "repository":
        assert found["dbops_backup_last_success_timestamp_seconds/restic/log/repo1"] == 0
        assert found["dbops_backup_schedule_interval_seconds/restic/log/repo1"] == 60
    else:
        assert found["dbops_restore_drill_last_result/restic"] == 0


def test_a_server_that_loads_its_data_does_not_say_so_a_thousand_times() -> None:
    said = {client.loaded({"loading_loaded_perc": f"{n / 100:.2f}"}) for n in range(10_001)}
    assert said == {f"loaded {n} %" for n in range(0, 101, 10)}
    assert client.loaded({}) == "loaded 0 %"


@pytest.mark.parametrize(
    ("info", "count"),
    [
        ({}, 0),
        ({"errorstat_NOPERM": "count=3", "errorstat_ERR": "count=9"}, 3),
        ({"errorstat_NOPERM": "count=3", "errorstat_WRONGPASS": "count=2"}, 5),
        ({"acl_access_denied_auth": "1", "acl_access_denied_cmd": "4"}, 5),
        ({"acl_access_denied_auth": "0", "errorstat_NOPERM": "count=3"}, 0),
    ],
)
def test_refusals_are_counted_by_what_the_release_tells(info: dict[str, str], count: int) -> None:
    assert member_metrics.denied(info) == count
