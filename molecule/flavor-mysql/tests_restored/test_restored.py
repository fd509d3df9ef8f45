"""After the disaster: the rows are there, the cluster is whole, the drill proved its backup."""

from __future__ import annotations

import json
import os

import pytest

FLAVOR = os.environ.get("DBOPS_MYSQL_FLAVOR", "mariadb")
CLIENT = {"mariadb": "mariadb", "mysql": "mysql"}[FLAVOR]
FOLLOWS = {
    "mariadb": ("SHOW SLAVE STATUS", "Slave_IO_Running: Yes", "Slave_SQL_Running: Yes"),
    "mysql": ("SHOW REPLICA STATUS", "Replica_IO_Running: Yes", "Replica_SQL_Running: Yes"),
}[FLAVOR]
testinfra_hosts = ["ansible://dbops"]


def _name(host) -> str:
    return host.check_output("hostname")


def _ask(host, query: str) -> str:
    return host.check_output(f'{CLIENT} --no-defaults -BN -e "{query}"')


def test_every_row_came_back_changed_ones_too(host) -> None:
    if not _name(host).startswith("mysql"):
        pytest.skip("no server here")
    assert _ask(host, "SELECT count(*) FROM flights.sample") == "50000"
    changed = "SELECT count(*) FROM flights.sample WHERE note LIKE '%after the backup'"
    assert _ask(host, changed) == "5000"


def test_the_replica_follows(host) -> None:
    if _name(host) != "mysql2":
        pytest.skip("not the replica")
    query, *running = FOLLOWS
    status = host.check_output(f"{CLIENT} --no-defaults -E -e '{query}'")
    assert [line for line in running if line not in status] == []
    assert _ask(host, "SELECT @@read_only") == "1"


def test_the_drill_proved_it(host) -> None:
    if _name(host) != "drill3":
        pytest.skip("no drill here")
    last = json.loads(host.check_output("dbops drill history --json"))[-1]
    assert last["proven"]
    sample = [table for table in last["tables"] if table["table"] == "sample"]
    assert sample
    assert sample[0]["equal"]
    assert sample[0]["rows_found"] == 50000


def test_no_control_fails(host) -> None:
    if not _name(host).startswith("mysql"):
        pytest.skip("no server here")
    assert host.run("dbops audit").rc == 0, host.run("dbops audit").stdout


def test_checks_find_nothing_wrong(host) -> None:
    if _name(host) == "backup3":
        host.check_output("runuser -u dbops-repository -- dbops backup verify")
        # The restored member has a new binary log: following it may begin a minute late.
        done = host.run(
            "for i in $(seq 24); do runuser -u dbops-repository -- dbops check && exit 0; sleep 5; "
            "done; exit 6"
        )
    else:
        done = host.run("dbops check")
    assert done.rc == 0, done.stdout
