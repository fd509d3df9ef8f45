"""A restore in place by the play to a GTID, and its refusal."""

from __future__ import annotations

from demo import flights, mysql_data
from tests.e2e.hosts import Load
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def _whole_again(site: Site) -> None:
    """The cluster has a replica that follows and the data that no test ever changes."""
    site.wait_whole()
    assert mysql_data.counts(site.connect("flights_owner")) == flights.ROWS


def test_to_a_gtid(load: Load) -> None:
    site = _site(load)
    with load.running():
        load.more(50)
    position = site.position()
    before = set(load.stored())
    with load.running():
        load.more(50)
    site.wait_archived()
    site.run_play("restore", *CONFIRM, "-e", f"dbops_restore_point={position}")
    _whole_again(site)
    assert set(load.stored()) == before


def test_a_position_that_the_log_lacks_is_refused(whole: Site) -> None:
    replica = whole.replica()
    whole.server(replica, "stop")
    try:
        for point in ("0-1-99999999", "now"):
            words = ("restore", "run", "--point", point, "--confirm", CLUSTER)
            done = whole.dbops(replica, *words, ok=False)
            assert done.status == 2, done.said
            assert point in done.said
    finally:
        whole.server(replica, "start")
    whole.wait_whole()
