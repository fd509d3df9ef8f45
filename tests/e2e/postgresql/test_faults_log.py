"""A segment of the log is missing between the backup and the point that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tests.e2e.postgresql.hosts import CLUSTER, Load, Site

_CONFIRM = ("-e", f"dbops_confirm={CLUSTER}")


@contextmanager
def _missing(site: Site, segment: str) -> Iterator[None]:
    """Take one segment out of the archive while the block runs."""
    archive = f"/var/lib/pgbackrest/archive/{CLUSTER}"
    file = site.root("backup1", f"ls {archive}/*/*/{segment}-*")
    site.root("backup1", f"mv {file} /root/")
    try:
        yield
    finally:
        site.root("backup1", f"mv /root/{segment}-* {file}")


def test_a_hole_in_the_log_is_named_and_the_data_stays(load: Load) -> None:
    site = load.site
    site.take("incremental")
    with load.running():
        load.more(50)
    middle = site.wait_archived()
    with load.running():
        load.more(50)
    name = f"beyond_{middle}"
    site.ask(site.primary(), f"SELECT pg_create_restore_point('{name}')")
    wanted = datetime.fromtimestamp(max(load.acknowledged.values()), UTC).isoformat()
    with load.running():
        load.more(50)
    site.wait_archived()
    primary = site.primary()

    with _missing(site, middle):
        play = site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_time={wanted}", ok=False)
        assert play.status != 0
        assert middle in play.said
        assert site.whole(), "a restore that cannot be done has stopped the cluster"
        load.nothing_lost()
        verified = site.dbops("backup1", "backup", "verify", ok=False)
        assert verified.status == 6
        assert middle in verified.said
        drill = site.dbops("drill1", "drill", "run", ok=False)
        assert drill.status == 6
        assert middle in drill.said

        # A name says nothing of where it is, so only the recovery itself can find the hole.
        for host in ("pg1", "pg2"):
            site.server(host, "stop")
        done = site.dbops(primary, "restore", "run", "--name", name, "--confirm", CLUSTER, ok=False)
        assert done.status == 6, done.said
        assert "kept in" in done.said
        aside = done.said.split("kept in ")[1].split()[0].rstrip(".)")
        control = f"/usr/lib/postgresql/*/bin/pg_controldata {aside}"
        assert "shut down" in site.root(primary, control), "the replaced data is not whole"
        refused = site.dbops(primary, "restore", "discard", "--confirm", CLUSTER, ok=False)
        assert refused.status == 7, refused.said
        site.root(primary, f"test -f {aside}/PG_VERSION")

    site.server(primary, "stop")
    site.run_play("restore", *_CONFIRM, "-e", f"dbops_restore_to={primary}")
    site.wait_whole()
    load.nothing_lost()
    site.dbops(primary, "restore", "discard", "--confirm", CLUSTER)
