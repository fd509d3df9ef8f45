"""Restores in place by the play: with every disk gone, and a backup by its id; no failover."""

from __future__ import annotations

from demo import redis_data
from tests.e2e.redis.hosts import CLUSTER, ROWS, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


def _whole_again(site: Site) -> None:
    site.wait_whole()
    with site.application().connect() as client:
        assert redis_data.counts(client) == ROWS


def test_everything_lost_costs_no_more_than_the_promised_recovery_point(load: Load) -> None:
    site = load.site
    promised = site.settings("redis1")["objectives"]["rpo_seconds"]
    with load.running():
        load.more(100)
        site.store_log()
        load.more(300)
        for host in site.members:
            site.root(
                host,
                f"systemctl kill -s KILL dbops-redis-{CLUSTER}; "
                f"systemctl stop dbops-redis-{CLUSTER}; rm -rf /var/lib/redis/{CLUSTER}",
            )
    site.run_play("restore", *_CONFIRM)
    _whole_again(site)
    lost = load.lost()
    newest = max(load.acknowledged)
    span = max(load.acknowledged.values()) - min(lost.values()) if lost else 0
    assert span <= promised, f"{span:.0f} s are lost, {promised} s were promised"
    print(f"lost {len(lost)} of {len(load.acknowledged)} writes, newest {newest}")


def test_a_backup_by_its_id(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
    site.take("full")
    wanted = site.backups()[-1]["backup_id"]
    before = load.stored()
    with load.running():
        load.more(50)
    site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_backup_id={wanted}")
    _whole_again(site)
    assert set(before) <= set(load.stored())


def test_no_failover_happens_while_a_restore_is_under_way(load: Load) -> None:
    site = load.site
    primary = site.primary()
    epoch = site.sentinel(primary, "SENTINEL", "MASTER", CLUSTER).splitlines()
    site.run_play("restore", *_CONFIRM)
    site.wait_whole()
    assert site.primary() == primary
    after = site.sentinel(primary, "SENTINEL", "MASTER", CLUSTER).splitlines()
    key = "config-epoch"
    assert int(after[after.index(key) + 1]) <= int(epoch[epoch.index(key) + 1])
