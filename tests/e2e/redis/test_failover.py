"""A primary that fails: one that comes back, and one that comes back without its data."""

from __future__ import annotations

from tests.e2e.hosts import wait
from tests.e2e.redis.hosts import CLUSTER, Load

_SERVICE = f"dbops-redis-{CLUSTER}"


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


def test_a_primary_whose_data_are_gone_does_not_empty_the_others(load: Load) -> None:
    """The Sentinels are down, so nothing but the member itself can hold it back at first."""
    site = load.site
    primary, replica = site.primary(), site.replica()
    others = (replica, site.repository)
    with load.running():
        load.more(100)
    sentinels = f"dbops-redis-sentinel-{CLUSTER}"
    for host in (*site.members, site.repository):
        site.root(host, f"systemctl stop {sentinels}")
    held = {host: site.ask(host, "DBSIZE") for host in others}
    since = site.root(primary, "date +%s").strip()
    site.root(primary, f"systemctl kill -s KILL {_SERVICE}; rm -rf {site.data}/*")
    journal = f"journalctl --quiet --unit {_SERVICE} --since @{since} --grep 'its data are gone'"
    wait(lambda: site.root(primary, journal, ok=False) != "", 30, "the refusal")
    found = {one["name"]: one["ok"] for one in site.checks(primary)}
    assert not found["data are on the disk"]
    assert not found["server answers"]
    assert {host: site.ask(host, "DBSIZE") for host in others} == held
    for host in (*site.members, site.repository):
        site.root(host, f"systemctl start {sentinels}")
    wait(lambda: site.named() == {replica}, 60, "the failover")
    site.wait_whole()
    assert site.primary() == replica
    assert all(one["ok"] for one in site.checks(primary) if one["name"] == "data are on the disk")
    load.nothing_lost()
