"""After the disaster: the data is there, the cluster is whole, the drill proved its backup."""

from __future__ import annotations

import json
import os

import pytest

FLAVOR = os.environ.get("DBOPS_REDIS_FLAVOR", "redis")
testinfra_hosts = ["ansible://dbops"]


def _name(host) -> str:
    return host.check_output("hostname")


def _ask(host, words: str) -> str:
    return host.check_output(
        "REDISCLI_AUTH=$(cat /etc/dbops/secrets/redis-flights-store-admin.password) "
        f"{FLAVOR}-cli -s /run/dbops-redis-flights-store/redis.sock --user dbops_admin {words}"
    )


def test_everything_came_back_what_was_changed_later_too(host) -> None:
    if not _name(host).startswith("redis"):
        pytest.skip("no member")
    assert int(_ask(host, "DBSIZE")) in (50000, 50001)
    assert _ask(host, "HGET flights:sample:50 note") == "after the backup"
    assert _ask(host, "HGET flights:sample:51 note") == "357"


def test_the_replica_follows(host) -> None:
    if _name(host) != "redis2":
        pytest.skip("not the replica")
    assert "master_link_status:up" in _ask(host, "INFO replication")


def test_the_drill_proved_it(host) -> None:
    if _name(host) != "drill2":
        pytest.skip("no drill here")
    last = json.loads(host.check_output("dbops drill history --json"))[-1]
    assert last["proven"]
    assert sum(table["rows_found"] for table in last["tables"]) >= 50000


def test_no_control_fails(host) -> None:
    if not _name(host).startswith("redis"):
        pytest.skip("no server here")
    assert host.run("dbops audit").rc == 0, host.run("dbops audit").stdout


def test_checks_find_nothing_wrong(host) -> None:
    if _name(host) == "backup2":
        host.check_output("cd /; runuser -u dbops-repository -- dbops backup verify")
        done = host.run("cd /; runuser -u dbops-repository -- dbops check")
    else:
        done = host.run("dbops check")
    assert done.rc == 0, done.stdout
