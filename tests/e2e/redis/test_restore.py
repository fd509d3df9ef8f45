"""Restores in place by the play: to a time, to the newest moment, and a backup by its id."""

from __future__ import annotations

from datetime import UTC, datetime

from demo import redis_data
from tests.e2e.redis.hosts import CLUSTER, ROWS, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _set_aside(site: Site, host: str) -> list[str]:
    return site.root(host, "ls -d /var/lib/redis/*.set-aside-* || true", ok=False).split()


def _whole_again(site: Site) -> None:
    site.wait_whole()
    with site.application().connect() as client:
        assert redis_data.counts(client) == ROWS


def test_to_a_time_then_to_the_newest_then_discard(load: Load) -> None:
    site = load.site
    site.take("full")
    with load.running():
        load.more(100)
        moment = sorted(load.acknowledged.values())[-1] + 1.5
        load.more(600)
    site.store_log()
    site.run_play("restore", *_CONFIRM, "-e", f"redis_restore_time={_iso(moment)}")
    _whole_again(site)
    stored = load.stored()
    # The log marks whole seconds.
    assert moment - 3 < max(stored.values()) <= moment + 1
    early = [when for when in load.lost().values() if when <= moment - 1]
    assert not early, f"{len(early)} writes from before the point in time are lost"
    assert load.lost(), "nothing was undone: that was no restore to an earlier time"

    after = site.writer(load.ledger.with_name("after.txt"))
    with after.running():
        after.more(200)
    site.run_play("restore", *_CONFIRM)
    _whole_again(site)
    after.nothing_lost()
    assert max(load.stored()) == max(stored), "what the restore to a time undid came back"

    primary = site.primary()
    kept = _set_aside(site, primary)
    assert kept, "the replaced data directory was not set aside"
    refused = site.dbops(primary, "restore", "discard", "--confirm", "flight", ok=False)
    assert refused.status == 7
    assert _set_aside(site, primary) == kept
    site.dbops(primary, "restore", "discard", "--confirm", CLUSTER)
    assert _set_aside(site, primary) == []


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
    site.run_play("restore", *_CONFIRM, "-e", f"redis_restore_backup_id={wanted}")
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
