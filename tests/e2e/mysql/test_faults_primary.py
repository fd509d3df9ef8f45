"""A member that wrote on its own is rebuilt, and backups from before lead to what it logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.hosts import Load, wait
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


@contextmanager
def _ticking(site: Site) -> Iterator[None]:
    """Let an event of root's, which may pass over read_only, write each second."""
    for statement in (
        "CREATE DATABASE ticks; CREATE TABLE ticks.t (who INT UNSIGNED)",
        "CREATE EVENT ticks.e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO ticks.t VALUES "
        "(@@server_id)",
        "CREATE EVENT ticks.off ON SCHEDULE EVERY 1 SECOND DISABLE DO SELECT 1",
        "SET GLOBAL event_scheduler = ON",
    ):
        site.ask(site.primary(), statement)
    noted = "SELECT COUNT(*) FROM dbops.events WHERE event_schema = 'ticks'"
    wait(lambda: site.ask(site.primary(), noted) == "2", 30, "the states of events are noted")
    yield
    site.ask(site.primary(), "SET GLOBAL event_scheduler = OFF; DROP DATABASE ticks")


def _ticks(site: Site, host: str) -> int:
    """Return how often the event ran on ``host``, by what the primary knows."""
    number = site.ask(host, "SELECT @@server_id")
    rows = site.ask(site.primary(), "SELECT who, COUNT(*) FROM ticks.t GROUP BY who").split()
    return int(dict(zip(rows[::2], rows[1::2], strict=True)).get(number, 0))


def _switched(site: Site) -> None:
    """Move the primary while an event runs: it then runs on the new one, and nowhere else."""
    old, new = site.primary(), site.replica()
    with _ticking(site):
        wait(lambda: _ticks(site, old) > 1, 30, "the event runs on the primary")
        site.run_play("switchover", *CONFIRM)
        before = _ticks(site, old)
        wait(lambda: _ticks(site, new) > 2, 30, "the event runs on the new primary")
        assert _ticks(site, old) == before
        states = "SELECT event_name, status FROM information_schema.events ORDER BY 1"
        assert site.ask(new, states).split() == ["e", "ENABLED", "off", "DISABLED"]
        assert site.ask(old, "SELECT @@event_scheduler") == "OFF"


def _half_restored(site: Site, host: str) -> None:
    """What a restore left half-way is started by no unit and no play."""
    site.root(host, "touch /var/lib/mysql/main.unfinished")
    assert "Assertion failed" in site.root(host, "systemctl start mariadb 2>&1 || true")
    refused = site.run_play("replicate", ok=False)
    assert refused.status != 0
    assert f"-e dbops_replicate_rebuild={host}" in refused.said


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
    site.server(replica, "stop")
    _half_restored(site, replica)
    with load.running():
        load.more(50)
        site.run_play("replicate", "-e", f"dbops_replicate_rebuild={replica}")
        site.wait_whole()
        load.more(50)
        # What a rebuilt member logs as primary goes on from the backups of before.
        _switched(site)
        load.more(60)
    load.nothing_lost()
    _restorable_from(site, oldest)
    site.heal()
