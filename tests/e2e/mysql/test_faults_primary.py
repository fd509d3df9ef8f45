"""A member that wrote on its own is rebuilt, and backups from before lead to what it logs."""

from __future__ import annotations

from tests.e2e.hosts import Load
from tests.e2e.mysql.hosts import CLUSTER, CONFIRM, Site


def _site(load: Load) -> Site:
    assert isinstance(load.site, Site)
    return load.site


def _restorable_from(site: Site, backup_id: str) -> None:
    """See that a backup and the archived log lead to what was committed just now."""
    site.wait_archived()
    words = ("restore", "run", "--confirm", CLUSTER, "--backup-id", backup_id, "--dry-run")
    plan = site.dbops(site.replica(), *words)
    assert backup_id in plan.said


def test_a_member_that_wrote_on_its_own_may_not_rejoin_and_is_rebuilt(load: Load) -> None:
    site = _site(load)
    replica = site.replica()
    oldest = [one["backup_id"] for one in site.listed() if one["kind"] == "full"][-1]
    site.ask(replica, "CREATE DATABASE errant; DROP DATABASE errant")
    site.server(replica, "stop")
    refused = site.run_play("replicate", "-e", f"mysql_replicate_rejoin={replica}", ok=False)
    assert refused.status != 0
    assert "never had" in refused.said
    assert f"dbops_replicate_rebuild={replica}" in refused.said
    with load.running():
        load.more(50)
        site.run_play("replicate", "-e", f"dbops_replicate_rebuild={replica}")
        site.wait_whole()
        load.more(50)
        # What a rebuilt member logs as primary goes on from the backups of before.
        site.run_play("switchover", *CONFIRM)
        load.more(60)
    load.nothing_lost()
    _restorable_from(site, oldest)
    site.heal()
