"""Restores in place by the play: to a time, a position, a name, a backup and the newest moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import psycopg

from demo import flights, postgresql_data
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _set_aside(site: Site, host: str) -> list[str]:
    return site.root(host, "ls -d /var/lib/postgresql/*/main.set-aside-* || true", ok=False).split()


def _whole_again(site: Site) -> None:
    """The cluster has a streaming standby and the data that no test ever changes."""
    site.wait_streaming()
    with psycopg.connect(site.dsn("flights_owner")) as connection:
        assert postgresql_data.counts(connection) == flights.ROWS


def test_to_a_time_then_to_the_newest_then_discard(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(100)
        moment = sorted(load.acknowledged.values())[-1] + 0.5
        load.more(300)
    site.wait_archived()
    site.run_play("restore", *_CONFIRM, "-e", f"postgresql_restore_time={_iso(moment)}")
    _whole_again(site)
    stored = load.stored()
    assert moment - 1 < max(stored.values()) <= moment, "the newest row is not within the second"
    lost_early = [when for when in load.lost().values() if when <= moment]
    assert not lost_early, f"{len(lost_early)} writes from before the point in time are lost"
    assert load.lost(), "nothing was undone: that was no restore to an earlier time"

    after = site.writer(load.ledger.with_name("after.txt"))
    with after.running():
        after.more(200)
    site.run_play("restore", *_CONFIRM)
    _whole_again(site)
    after.nothing_lost()
    assert max(load.stored()) == max(stored), "writes of the abandoned timeline came back"

    primary = site.primary()
    kept = _set_aside(site, primary)
    assert kept, "the replaced data directories were not set aside"
    refused = site.dbops(primary, "restore", "discard", "--confirm", "flight", ok=False)
    assert refused.status == 7
    assert _set_aside(site, primary) == kept
    site.dbops(primary, "restore", "discard", "--confirm", CLUSTER)
    assert _set_aside(site, primary) == []
    _whole_again(site)

    site.converged()


def test_to_a_log_position(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
    position = site.ask(site.primary(), "SELECT pg_current_wal_insert_lsn()")
    before = load.stored()
    with load.running():
        load.more(50)
    site.wait_archived()
    site.run_play("restore", *_CONFIRM, "-e", f"postgresql_restore_point={position}")
    _whole_again(site)
    assert load.stored() == before


def test_to_a_named_restore_point(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
    name = f"before_release_{time.time():.0f}"
    site.ask(site.primary(), f"SELECT pg_create_restore_point('{name}')")
    before = load.stored()
    with load.running():
        load.more(50)
    site.wait_archived()
    site.run_play("restore", *_CONFIRM, "-e", f"postgresql_restore_name={name}")
    _whole_again(site)
    assert load.stored() == before


def test_from_a_backup_that_is_not_the_newest(load: Load) -> None:
    site = load.site
    site.take()
    wanted = site.backups()[-1]["backup_id"]
    with load.running():
        load.more(50)
    site.take()
    assert site.backups()[-1]["backup_id"] != wanted
    with load.running():
        load.more(50)
    play = site.run_play("restore", *_CONFIRM, "-e", f"postgresql_restore_backup_id={wanted}", "-v")
    assert wanted in play.output
    _whole_again(site)
    load.nothing_lost()


def test_what_cannot_be_restored_is_refused_with_the_cluster_untouched(load: Load) -> None:
    site = load.site
    primary, standby = site.primary(), site.standby()
    before = _set_aside(site, standby)
    window = site.dbops("backup1", "backup", "list", "--json").json()["window"]
    for words, status, names in (
        (["--backup-id", "20200101-000000F"], 2, "20200101-000000F"),
        (["--backup-id", "a;touch x"], 2, "a;touch x"),
        (["--time", "2001-01-01T00:00:00Z"], 2, window["oldest"][:10]),
        (["--point", "FFFF/0"], 2, "window"),
    ):
        # On a host whose server is stopped, so that only what was asked for can be the reason.
        site.server(standby, "stop")
        done = site.dbops(standby, "restore", "run", *words, "--confirm", CLUSTER, ok=False)
        assert done.status == status, (words, done.said)
        assert names in done.said
    done = site.dbops(primary, "restore", "run", "--confirm", CLUSTER, ok=False)
    assert done.status == 7, done.said
    assert "running" in done.said
    play = site.run_play("restore", "-e", "dbops_confirm=flight", ok=False)
    assert play.status != 0
    site.server(standby, "start")
    site.wait_streaming()
    assert _set_aside(site, standby) == before
    with load.running():
        load.more(60)
    load.nothing_lost()
