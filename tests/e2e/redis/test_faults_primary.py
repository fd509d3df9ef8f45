"""What happens to the primary and its link, under load: killed, moved, cut off."""

from __future__ import annotations

import time

from lab import faults
from tests.e2e.hosts import wait
from tests.e2e.redis.hosts import CLUSTER, MEMBERS, Load

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")
_SERVICE = f"dbops-redis-{CLUSTER}"


def test_a_killed_server_comes_back_with_every_acknowledged_write(load: Load) -> None:
    site = load.site
    primary = site.primary()
    pid = f"systemctl show -p MainPID --value {_SERVICE}"
    with load.running():
        load.more(100)
        before = site.root(primary, pid)
        site.root(primary, f"kill -9 {before}")
        load.more(100, 90)
    assert site.root(primary, pid) != before
    load.nothing_lost()
    site.wait_whole()


def test_a_dead_host_is_failed_over_and_what_was_lost_is_counted(load: Load) -> None:
    site = load.site
    primary, replica = site.primary(), site.replica()
    with load.running():
        load.more(300)
        died = time.time()
        faults.kill(site.lab, primary)
        load.more(100, 90)
    lost = load.lost()
    # Replication does not wait for the replica: what it had not received is gone. It is no more
    # than what was in flight when the host died.
    print(f"lost {len(lost)} of {len(load.acknowledged)} acknowledged writes in the failover")
    assert all(abs(when - died) < 2 for when in lost.values()), sorted(lost.values())
    assert site.primary() == replica
    faults.start(site.lab, primary)
    site.wait_whole(120)
    assert site.primary() == replica, "the former primary took over again"


def test_site_yml_after_a_failover_leaves_it_so(load: Load) -> None:
    site = load.site
    primary, replica = site.primary(), site.replica()
    with load.running():
        load.more(50)
        site.root(primary, f"systemctl kill -s KILL {_SERVICE}; systemctl stop {_SERVICE}")
        wait(lambda: site.named() == {replica}, 60, "the failover")
        site.root(primary, f"systemctl reset-failed {_SERVICE}; systemctl start {_SERVICE}")
        site.wait_whole()
        load.more(50)
        site.converged()
        assert site.primary() == replica, "site.yml moved the primary"
        load.more(50)
    site.wait_whole()


def test_a_switchover_loses_nothing_and_site_yml_leaves_it_so(load: Load) -> None:
    site = load.site
    primary, replica = site.primary(), site.replica()
    with load.running():
        load.more(100)
        site.run_play("switchover", *_CONFIRM)
        assert site.primary() == replica
        load.more(100)
        site.run_play("switchover", *_CONFIRM, "-e", f"redis_switchover_to={primary}")
        assert site.primary() == primary
        load.more(100)
    load.nothing_lost()
    site.wait_whole()


def test_a_switchover_is_refused_without_the_cluster_s_name_or_a_replica(load: Load) -> None:
    site = load.site
    primary, replica = site.primary(), site.replica()
    assert site.run_play("switchover", "-e", "dbops_confirm=flight", ok=False).status != 0
    assert site.primary() == primary
    site.server(replica, "stop")
    play = site.run_play("switchover", *_CONFIRM, ok=False)
    assert play.status != 0
    assert "cannot move" in play.said
    assert site.primary() == primary
    site.server(replica, "start")
    site.wait_whole()


def test_a_cut_link_between_the_members_heals_by_itself(load: Load) -> None:
    site = load.site
    primary = site.primary()
    with load.running():
        load.more(50)
        with faults.cut(site.lab, *MEMBERS):
            time.sleep(12)
            load.more(50)
        load.more(50)
    site.wait_whole()
    assert site.primary() == primary, "two of three Sentinels still saw the primary"
    load.nothing_lost()
