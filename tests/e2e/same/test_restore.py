"""Restores in place by the play: to a time, to the newest moment; refused, and thrown away."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.e2e.hosts import Load
from tests.e2e.same.site import Site


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _whole_again(site: Site) -> None:
    """The cluster has a replica that follows and the data that no test ever changes."""
    site.wait_whole()
    assert site.counts() == dict(site.rows)


def test_to_a_time_then_to_the_newest_then_discard(site: Site, load: Load) -> None:
    site.take("full")
    with load.running():
        load.more(100)
        moment = sorted(load.acknowledged.values())[-1] + 1.5
        load.more(300)
        while max(load.acknowledged.values()) < moment + 4:
            load.more(50)
    site.store_log()
    site.confirmed("restore", "-e", f"dbops_restore_time={_iso(moment)}")
    _whole_again(site)
    stored = load.stored()
    # Some logs mark whole seconds only.
    assert moment - 3 < max(stored.values()) <= moment + 1, "the newest row is not of that second"
    early = [when for when in load.lost().values() if when <= moment - 1]
    assert not early, f"{len(early)} writes from before the point in time are lost"
    assert load.lost(), "nothing was undone: that was no restore to an earlier time"

    after = site.writer(load.ledger.with_name("after.txt"))
    with after.running():
        after.more(100)
        # Its rows stand in the log, too: none may come twice. Not every engine has the kind.
        assert site.take("incremental", ok=False).status in (0, 2)
        after.more(100)
    site.confirmed("restore")
    _whole_again(site)
    after.nothing_lost()
    assert max(load.stored()) == max(stored), "what the restore to a time undid came back"

    primary = site.primary()
    kept = site.set_aside(primary)
    assert kept, "the replaced data directory was not set aside"
    refused = site.dbops(primary, "restore", "discard", "--confirm", "flight", ok=False)
    assert refused.status == 7
    assert site.set_aside(primary) == kept
    site.dbops(primary, "restore", "discard", "--confirm", site.cluster)
    assert site.set_aside(primary) == []
    _whole_again(site)


def test_what_cannot_be_restored_is_refused_with_the_cluster_untouched(
    site: Site, load: Load
) -> None:
    primary, replica = site.primary(), site.replica()
    before = site.set_aside(replica)
    # On a host whose server is stopped, so that only what was asked for can be the reason.
    site.server(replica, "stop")
    try:
        for words, names in (
            (["--backup-id", "20200101-000000F"], "20200101-000000F"),
            (["--backup-id", "a;touch x"], "a;touch x"),
            (["--time", "2001-01-01T00:00:00Z"], "window"),
        ):
            run = ("restore", "run", *words, "--confirm", site.cluster)
            done = site.dbops(replica, *run, ok=False)
            assert done.status == 2, (words, done.said)
            assert names in done.said
        done = site.dbops(primary, "restore", "run", "--confirm", site.cluster, ok=False)
        assert done.status == 7, done.said
        assert "running" in done.said
    finally:
        site.server(replica, "start")
    site.wait_whole()
    assert site.set_aside(replica) == before
    with load.running():
        load.more(60)
    load.nothing_lost()
