"""What happens to the primary and its link, under load: killed, moved, cut off, half a play."""

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
_POSTMASTER = "head -1 /var/lib/postgresql/*/main/postmaster.pid"


def _synchronous(site: Site, wanted: bool) -> None:
    extra = ("-e", "postgresql_synchronous=true") if wanted else ()
    site.run_play("provision", "--limit", "postgresql_members", *extra)
    query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
    primary = site.primary()
    wait(lambda: site.ask(primary, query) == str(int(wanted)), 20, f"synchronous is {wanted}")


def test_a_killed_server_comes_back_with_every_acknowledged_write(load: Load) -> None:
    site = load.site
    primary = site.primary()
    with load.running():
        load.more(100)
        before = site.root(primary, _POSTMASTER)
        site.root(primary, f"kill -9 {before}")
        time.sleep(1)
        if site.root(primary, "systemctl is-active 'postgresql@*'", ok=False) != "active":
            site.server(primary, "start")
        load.more(100, 90)
    assert site.root(primary, _POSTMASTER) != before, "the server was never gone"
    assert site.primary() == primary
    load.nothing_lost()
    site.wait_streaming()


def test_synchronous_loses_nothing_when_the_primary_s_host_dies(load: Load) -> None:
    site = load.site
    primary, standby = site.primary(), site.standby()
    _synchronous(site, True)
    try:
        with load.running():
            load.more(300)
            faults.kill(site.lab, primary)
            site.ask(standby, "SELECT pg_promote(true, 60)")
        load.nothing_lost()
        faults.start(site.lab, primary)
        site.server(primary, "stop")
        site.run_play("replicate", "-e", f"postgresql_replicate_rejoin={primary}")
        site.wait_streaming()
        assert site.primary() == standby
        with load.running():
            load.more(60)
        load.nothing_lost()
    finally:
        site.heal()
        _synchronous(site, False)


def test_asynchronous_loses_no_more_than_the_promised_recovery_point(load: Load) -> None:
    site = load.site
    promised = site.settings("pg1")["objectives"]["rpo_seconds"]
    primary, standby = site.primary(), site.standby()
    with load.running():
        load.more(100)
        site.wait_archived()
        load.more(300)
        for host in (primary, standby):
            site.destroy(host)
        died = time.time()
        time.sleep(1)
    site.run_play("restore", *_CONFIRM, "-e", f"postgresql_restore_to={primary}")
    site.wait_streaming()
    stored, lost = load.stored(), load.lost()
    newest = max(load.acknowledged[number] for number in stored if number in load.acknowledged)
    assert died - newest <= promised, f"{died - newest:.0f} s are lost, {promised} s were promised"
    assert lost, "with every disk gone something must be lost, or the disks were not gone"
    assert min(lost.values()) >= newest, "a write is lost that is older than one that came back"
    with load.running():
        load.more(60)
    assert set(load.lost()) == set(lost)


def test_a_switchover_loses_nothing_and_site_yml_leaves_it_so(load: Load) -> None:
    site = load.site
    primary, standby = site.primary(), site.standby()
    with load.running():
        load.more(100)
        site.run_play("switchover", *_CONFIRM)
        assert site.primary() == standby
        load.more(100)
        site.converged()
        assert site.primary() == standby, "site.yml moved the primary"
        site.run_play("switchover", *_CONFIRM, "-e", f"postgresql_switchover_to={primary}")
        assert site.primary() == primary
        load.more(100)
    load.nothing_lost()
    site.wait_streaming()


def test_a_switchover_is_refused_without_the_cluster_s_name_or_a_standby(load: Load) -> None:
    site = load.site
    primary, standby = site.primary(), site.standby()
    assert site.run_play("switchover", "-e", "dbops_confirm=flight", ok=False).status != 0
    assert site.primary() == primary
    site.server(standby, "stop")
    play = site.run_play("switchover", *_CONFIRM, ok=False)
    assert play.status != 0
    assert "cannot move" in play.said
    assert site.primary() == primary
    site.server(standby, "start")
    site.wait_streaming()


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
    primary, standby = site.primary(), site.standby()
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
        site.wait_streaming(90)
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
    assert site.streaming()
    assert site.dbops("pg2", "status", "--json").json()[0]["up"] is True
    site.wait_archived()
    site.no_hole()
