"""What happens to the primary and its link, under load: killed, dead, moved, cut off."""

from __future__ import annotations

import time

from lab import faults
from tests.e2e.hosts import Load, wait
from tests.e2e.same.site import Site


def test_a_killed_server_comes_back_with_every_acknowledged_write(site: Site, load: Load) -> None:
    primary = site.primary()
    with load.running():
        load.more(100)
        site.kill_server(primary)
        load.more(100, 90)
    load.nothing_lost()
    site.wait_whole()


def test_a_dead_host_costs_no_more_than_was_promised(site: Site, load: Load) -> None:
    primary, replica = site.primary(), site.replica()
    with site.lossless():
        with load.running():
            load.more(300)
            died = time.time()
            faults.kill(site.lab, primary)
            if site.alone:
                site.promote(primary)
                load.more(100, 90)
        if not site.alone:
            site.promote(primary)
        lost = load.lost()
        assert site.primary() == replica
        faults.start(site.lab, primary)
        site.rejoin(primary)
        site.wait_whole(120)
        assert site.primary() == replica, "the former primary took over again"
        with load.running():
            load.more(60)
    # Where replication waits for nobody, what was in flight when the host died is gone.
    late = {n: when for n, when in lost.items() if abs(when - died) >= site.loss_seconds}
    assert not late, f"{len(late)} of {len(load.acknowledged)} acknowledged writes are lost"
    assert set(load.lost()) == set(lost)


def test_a_switchover_loses_nothing_and_a_rerun_leaves_it_so(site: Site, load: Load) -> None:
    primary, replica = site.primary(), site.replica()
    with load.running():
        load.more(100)
        site.confirmed("switchover")
        assert site.primary() == replica
        load.more(100)
        site.converged("replicate")
        assert site.primary() == replica, "replicate.yml moved the primary"
        site.confirmed("switchover", "-e", f"dbops_switchover_to={primary}")
        assert site.primary() == primary
        load.more(100)
    load.nothing_lost()
    site.wait_whole()


def test_a_switchover_is_refused_without_a_replica(site: Site, load: Load) -> None:
    primary, replica = site.primary(), site.replica()
    site.server(replica, "stop")
    try:
        play = site.confirmed("switchover", ok=False)
        assert play.status != 0
        assert "cannot move" in play.said
        assert site.primary() == primary
    finally:
        site.server(replica, "start")
    site.wait_whole()


def test_a_cut_link_heals_without_a_rebuild(site: Site, load: Load) -> None:
    primary, replica = site.primary(), site.replica()
    data = site.data_identity(replica)
    with load.running():
        load.more(50)
        with faults.cut(site.lab, primary, replica):
            wait(lambda: not site.whole(), 120, "the replica has noticed")
            load.more(50)
        site.wait_whole(120)
        load.more(50)
    assert site.primary() == primary
    assert site.data_identity(replica) == data, "the replica was rebuilt"
    load.nothing_lost()
