"""Restores in place by the play: to a time, a GTID, a backup and the newest moment; refusals."""

from __future__ import annotations

from datetime import UTC, datetime

from demo import flights, mysql_data
from tests.e2e.hosts import Load
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def _set_aside(site: Site, host: str) -> list[str]:
    return site.root(host, "ls -d /var/lib/mysql/main.set-aside-* || true", ok=False).split()


def _whole_again(site: Site) -> None:
    """The cluster has a replica that follows and the data that no test ever changes."""
    site.wait_whole()
    assert mysql_data.counts(site.connect("flights_owner")) == flights.ROWS


def test_to_a_time_then_to_the_newest_then_discard(load: Load) -> None:
    site = _site(load)
    with load.running():
        load.more(100)
        moment = sorted(load.acknowledged.values())[-1] + 0.5
        load.more(300)
    site.wait_archived()
    site.run_play("restore", *CONFIRM, "-e", f"mysql_restore_time={_iso(moment)}")
    _whole_again(site)
    stored = load.stored()
    assert moment - 1.5 < max(stored.values()) <= moment + 1, "the newest row is not of that second"
    lost_early = [when for when in load.lost().values() if when <= moment - 1]
    assert not lost_early, f"{len(lost_early)} writes from before the point in time are lost"
    assert load.lost(), "nothing was undone: that was no restore to an earlier time"

    after = site.writer(load.ledger.with_name("after.txt"))
    with after.running():
        after.more(100)
        site.take("incremental")  # its rows stand in the log, too, and must not come twice
        after.more(100)
    site.run_play("restore", *CONFIRM)
    _whole_again(site)
    after.nothing_lost()
    assert max(load.stored()) == max(stored), "writes of the abandoned history came back"

    primary = site.primary()
    kept = _set_aside(site, primary)
    assert kept, "the replaced data directories were not set aside"
    assert site.dbops(primary, "restore", "discard", "--confirm", "flight", ok=False).status == 7
    assert _set_aside(site, primary) == kept
    site.dbops(primary, "restore", "discard", "--confirm", CLUSTER)
    assert _set_aside(site, primary) == []
    _whole_again(site)


def test_to_a_gtid(load: Load) -> None:
    site = _site(load)
    with load.running():
        load.more(50)
    position = site.position()
    before = set(load.stored())
    with load.running():
        load.more(50)
    site.wait_archived()
    site.run_play("restore", *CONFIRM, "-e", f"mysql_restore_point={position}")
    _whole_again(site)
    assert set(load.stored()) == before


def test_what_cannot_be_restored_is_refused_with_the_cluster_untouched(load: Load) -> None:
    site = _site(load)
    primary, replica = site.primary(), site.replica()
    before = _set_aside(site, replica)
    site.server(replica, "stop")
    for words, status, names in (
        (["--backup-id", "20200101-000000F"], 2, "20200101-000000F"),
        (["--backup-id", "a;touch x"], 2, "a;touch x"),
        (["--time", "2001-01-01T00:00:00Z"], 2, "window"),
        (["--point", "0-1-99999999"], 2, "0-1-99999999"),
        (["--point", "now"], 2, "now"),
    ):
        done = site.dbops(replica, "restore", "run", *words, "--confirm", CLUSTER, ok=False)
        assert done.status == status, (words, done.said)
        assert names in done.said
    done = site.dbops(primary, "restore", "run", "--confirm", CLUSTER, ok=False)
    assert done.status == 7, done.said
    assert "running" in done.said
    assert site.run_play("restore", "-e", "dbops_confirm=flight", ok=False).status != 0
    site.server(replica, "start")
    site.wait_whole()
    assert _set_aside(site, replica) == before
    with load.running():
        load.more(60)
    load.nothing_lost()
