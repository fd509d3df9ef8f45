"""After a failover, the whole site.yml leaves the primary where the Sentinels put it."""

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
