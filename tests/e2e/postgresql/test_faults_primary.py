"""Every disk gone, a cut link as the metrics tell it, and a play that is killed half way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import psycopg
import pytest

from lab import faults, fleet
from tests.e2e.hosts import wait
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


def test_asynchronous_loses_no_more_than_the_promised_recovery_point(load: Load) -> None:
    site = load.site
    promised = site.settings("pg1")["objectives"]["rpo_seconds"]
    primary, standby = site.primary(), site.replica()
    with load.running():
        load.more(100)
        site.wait_archived()
        load.more(300)
        for host in (primary, standby):
            site.destroy(host)
        died = time.time()
        time.sleep(1)
    site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_to={primary}")
    site.wait_whole()
    stored, lost = load.stored(), load.lost()
    newest = max(load.acknowledged[number] for number in stored if number in load.acknowledged)
    assert died - newest <= promised, f"{died - newest:.0f} s are lost, {promised} s were promised"
    assert lost, "with every disk gone something must be lost, or the disks were not gone"
    assert min(lost.values()) >= newest, "a write is lost that is older than one that came back"
    with load.running():
        load.more(60)
    assert set(load.lost()) == set(lost)


def _metric(site: Site, host: str, name: str) -> float:
    script = (
        "import urllib.request as u; "
        "print(u.urlopen('http://127.0.0.1:9630/metrics', timeout=20).read().decode())"
    )
    text = site.run(host, "python3", "-c", script).stdout
    found = re.search(rf"^{name}\{{[^}}]*\}} (\S+)$", text, re.M)
    assert found, f"no {name} at {host}'s exporter"
    return float(found[1])


def test_a_cut_link_shows_as_growing_lag_and_heals_without_a_rebuild(load: Load) -> None:
    site = load.site
    primary, standby = site.primary(), site.replica()
    directory = "stat -c %i /var/lib/postgresql/*/main/PG_VERSION"
    data = site.root(standby, directory)
    assert _metric(site, standby, "dbops_replication_link_up") == 1
    with load.running():
        load.more(50)
        with faults.cut(site.lab, primary, standby):
            load.more(100)
            wait(lambda: _metric(site, standby, "dbops_replication_link_up") == 0, 60, "link down")
            first = _metric(site, standby, "dbops_replication_lag_seconds")
            behind = _metric(site, standby, "dbops_replication_lag_bytes")
            time.sleep(5)
            second = _metric(site, standby, "dbops_replication_lag_seconds")
            assert first > 2
            assert second >= first + 4, "the lag in seconds does not grow while the link is cut"
            assert behind > 0
            assert _metric(site, standby, "dbops_replication_lag_bytes") > behind
            status = site.dbops(standby, "status", "--json", ok=False).json()
            assert status[0]["lag_seconds"] > second
        site.wait_whole(90)
        load.more(50)
    wait(lambda: _metric(site, standby, "dbops_replication_lag_seconds") < 10, 60, "lag is gone")
    assert _metric(site, standby, "dbops_replication_link_up") == 1
    assert site.root(standby, directory) == data, "the standby was rebuilt"
    load.nothing_lost()
    with psycopg.connect(site.dsn("flights_owner")) as connection:
        rows = connection.execute("SELECT count(*) FROM flights.journal").fetchone()
    query = "SELECT count(*) FROM flights.journal"
    asked = f"runuser -u postgres -- psql -XAtqc '{query}' {CLUSTER}"
    assert rows is not None
    wait(lambda: site.root(standby, asked) == str(rows[0]), 20, "the standby has every row")


def test_a_play_killed_in_the_middle_converges_when_run_again(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load.site
    monkeypatch.setattr(site, "strategy", "linear")  # all its processes are in one group
    site.root(
        "pg1", "rm /etc/pgbackrest/pgbackrest.conf; echo junk >> /etc/postgresql/*/main/pg_hba.conf"
    )
    site.root("pg2", "rm -f /etc/systemd/system/dbops-exporter.service /usr/local/bin/dbops")
    site.root("backup1", "rm /etc/systemd/system/pgbackrest-seal.timer")
    with load.running():
        load.more(50)
        play = subprocess.Popen(
            site.argv("site"), cwd=fleet.CHECKOUT, env=site.environment("site"), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        assert play.stdout is not None
        for line in play.stdout:
            if line.startswith("TASK [") and "connection rules" in line.lower():
                break
            if line.startswith("TASK [postgresql : Write the server's configuration"):
                break
        os.killpg(play.pid, signal.SIGKILL)
        play.stdout.close()
        assert play.wait(30) == -signal.SIGKILL, "the play had ended before it could be killed"
        again = site.run_play("site")
        assert again.changed, "the rerun had nothing to do, so nothing was interrupted"
        site.converged()
        load.more(50)
    load.nothing_lost()
    assert site.whole()
    assert site.dbops("pg2", "status", "--json").json()[0]["up"] is True
    site.wait_archived()
    site.no_hole()
