"""Restores in place by the play: to a position, to a name, and from an older backup."""

from __future__ import annotations

import time

import psycopg

from demo import flights, postgresql_data
from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


def _whole_again(site: Site) -> None:
    """The cluster has a streaming standby and the data that no test ever changes."""
    site.wait_whole()
    with psycopg.connect(site.dsn("flights_owner")) as connection:
        assert postgresql_data.counts(connection) == flights.ROWS


def test_to_a_log_position(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
    position = site.ask(site.primary(), "SELECT pg_current_wal_insert_lsn()")
    before = load.stored()
    with load.running():
        load.more(50)
    site.wait_archived()
    site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_point={position}")
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
    site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_name={name}")
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
    play = site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_backup_id={wanted}", "-v")
    assert wanted in play.output
    _whole_again(site)
    load.nothing_lost()


def test_a_position_that_the_log_lacks_is_refused(whole: Site) -> None:
    standby = whole.replica()
    whole.server(standby, "stop")
    try:
        words = ("restore", "run", "--point", "FFFF/0", "--confirm", CLUSTER)
        done = whole.dbops(standby, *words, ok=False)
    finally:
        whole.server(standby, "start")
    assert done.status == 2, done.said
    assert "window" in done.said
    whole.wait_whole()
