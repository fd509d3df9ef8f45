"""What happens to the primary and its link, under load: killed, moved, lost, cut off."""

from __future__ import annotations

import time

from lab import faults
from tests.e2e.hosts import Load, wait
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site

_PID = "systemctl show -p MainPID --value mariadb"


def _semi_sync(site: Site, wanted: bool) -> None:
    extra = ("-e", "mysql_semi_sync=true", "-e", "mysql_semi_sync_timeout_seconds=3600")
    site.run_play("provision", *(extra if wanted else ()))
    # A replica tells at log-in whether it will acknowledge, so it logs in again.
    site.ask(site.replica(), "STOP SLAVE; START SLAVE")
    status = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = "
    query = f"{status} 'Rpl_semi_sync_master_clients'"
    wait(lambda: site.ask(site.primary(), query) == str(int(wanted)), 30, f"semi-sync is {wanted}")


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def test_a_killed_server_comes_back_with_every_acknowledged_write(load: Load) -> None:
    site = _site(load)
    primary = site.primary()
    with load.running():
        load.more(100)
        before = site.root(primary, _PID)
        site.root(primary, f"kill -9 {before}")
        wait(lambda: site.root(primary, _PID) not in (before, "0"), 60, "the server is back")
        load.more(100, 90)
    assert site.primary() == primary
    load.nothing_lost()
    site.wait_whole()


def test_semi_sync_loses_nothing_when_the_primary_s_host_dies(load: Load) -> None:
    site = _site(load)
    primary, replica = site.primary(), site.replica()
    oldest = [one["backup_id"] for one in site.listed() if one["kind"] == "full"][-1]
    _semi_sync(site, True)
    try:
        with load.running():
            load.more(300)
            faults.kill(site.lab, primary)
            promote = ("-e", f"mysql_replicate_promote={replica}", "--limit", f"all:!{primary}")
            site.run_play("replicate", *promote)
            load.more(100)
        assert site.primary() == replica
        load.nothing_lost()

        # The old one comes back thinking that it is the primary, and may have written by then.
        faults.start(site.lab, primary)
        refused = site.run_play("secure", ok=False)
        assert refused.status != 0
        assert "Split brain" in refused.said
        site.server(primary, "stop")
        back = site.run_play("replicate", "-e", f"mysql_replicate_rejoin={primary}", ok=False)
        if back.status != 0:
            assert f"mysql_replicate_rebuild={primary}" in back.said
            site.run_play("replicate", "-e", f"mysql_replicate_rebuild={primary}")
        site.wait_whole()
        assert site.primary() == replica
        with load.running():
            load.more(60)
            # What a rebuilt member logs as primary goes on from the backups of before.
            site.run_play("switchover", *CONFIRM)
            load.more(60)
        load.nothing_lost()
        _restorable_from(site, oldest)
    finally:
        site.heal()
        _semi_sync(site, False)


def _restorable_from(site: Site, backup_id: str) -> None:
    """See that a backup and the archived log lead to what was committed just now."""
    site.wait_archived()
    words = ("restore", "run", "--confirm", CLUSTER, "--backup-id", backup_id, "--dry-run")
    plan = site.dbops(site.replica(), *words)
    assert backup_id in plan.said


def test_a_switchover_loses_nothing_and_a_rerun_leaves_it_so(load: Load) -> None:
    site = _site(load)
    primary, replica = site.primary(), site.replica()
    with load.running():
        load.more(100)
        site.run_play("switchover", *CONFIRM)
        assert site.primary() == replica
        load.more(100)
        site.converged("replicate")
        assert site.primary() == replica, "replicate.yml moved the primary"
        site.run_play("switchover", *CONFIRM, "-e", f"mysql_switchover_to={primary}")
        assert site.primary() == primary
        load.more(100)
    load.nothing_lost()
    site.wait_whole()


def test_a_switchover_is_refused_without_the_cluster_s_name_or_a_replica(load: Load) -> None:
    site = _site(load)
    primary, replica = site.primary(), site.replica()
    assert site.run_play("switchover", "-e", "dbops_confirm=flight", ok=False).status != 0
    site.server(replica, "stop")
    play = site.run_play("switchover", *CONFIRM, ok=False)
    assert play.status != 0
    assert "cannot move" in play.said
    assert site.primary() == primary
    site.server(replica, "start")
    site.wait_whole()


def test_a_member_that_wrote_on_its_own_may_not_rejoin_and_is_rebuilt(load: Load) -> None:
    site = _site(load)
    replica = site.replica()
    site.ask(replica, "CREATE DATABASE errant; DROP DATABASE errant")
    site.server(replica, "stop")
    refused = site.run_play("replicate", "-e", f"mysql_replicate_rejoin={replica}", ok=False)
    assert refused.status != 0
    assert "never had" in refused.said
    assert f"mysql_replicate_rebuild={replica}" in refused.said
    with load.running():
        load.more(50)
        site.run_play("replicate", "-e", f"mysql_replicate_rebuild={replica}")
        site.wait_whole()
        load.more(50)
    load.nothing_lost()
    site.heal()


def test_a_cut_link_heals_without_a_rebuild(load: Load) -> None:
    site = _site(load)
    primary, replica = site.primary(), site.replica()
    directory = "stat -c %i /var/lib/mysql/main/ibdata1"
    data = site.root(replica, directory)
    with load.running():
        load.more(50)
        with faults.cut(site.lab, primary, replica):
            load.more(100)
            wait(lambda: not site.whole(), 60, "the replica has noticed")
            time.sleep(2)
        site.wait_whole(90)
        load.more(50)
    assert site.root(replica, directory) == data, "the replica was rebuilt"
    load.nothing_lost()
    count = "SELECT COUNT(*) FROM flights.journal"
    wanted = site.ask(primary, count)
    wait(lambda: site.ask(replica, count) == wanted, 30, "the replica has every row")
