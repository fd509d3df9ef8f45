"""What happens to a backup and to the repository: killed, full, away, flipped."""

from __future__ import annotations

from datetime import datetime

from lab import faults
from tests.e2e.hosts import Load, wait
from tests.e2e.same.site import Site


def test_a_backup_killed_half_way_is_never_listed_and_the_next_one_succeeds(
    site: Site, load: Load
) -> None:
    before = site.fulls()
    with load.running(), site.quiet():
        load.more(50)
        running = site.start(site.repository, "backup", "take", "--type", "full")
        assert site.root(site.repository, site.tear).endswith("torn"), "no backup was seen half way"
        assert running.wait(120) != 0
        assert site.fulls() == before
        name = "last full backup succeeded"
        last = [one["ok"] for one in site.checks(site.repository) if one["name"] == name]
        assert last == [False]
        site.take("full")
        load.more(50)
    # The next one may have gone on where the torn one ended, so it has to prove itself.
    assert len(set(site.fulls()) - set(before)) == 1
    site.dbops(site.repository, "backup", "verify")
    site.dbops(site.drill, "drill", "run")
    load.nothing_lost()


def test_a_full_repository_fails_the_backup_clearly_and_works_again_after_relief(
    site: Site, load: Load
) -> None:
    before = site.fulls()
    with load.running():
        load.more(50)
        with site.small_repository() as folder:
            faults.fill(site.lab, site.repository, folder)
            failed = site.take("full", ok=False)
            assert failed.status not in (0, 1), failed.said
            assert "no space left" in failed.said.lower() or "archive" in failed.said, failed.said
            assert site.fulls() == before
            load.more(50)
            faults.relieve(site.lab, site.repository, folder)
        load.more(50)
    site.store_log()
    site.take("full")
    assert site.fulls()[-1] not in before
    site.no_hole()
    site.dbops(site.repository, "backup", "verify")
    load.nothing_lost()


def test_the_repository_s_host_away_for_a_while_costs_no_log(site: Site, load: Load) -> None:
    primary = site.primary()
    with load.running():
        load.more(50)
        faults.kill(site.lab, site.repository)
        site.switch_log()
        load.more(200)
        faults.start(site.lab, site.repository)
        load.more(50)
    written = max(load.acknowledged.values())
    wait(site.whole, 120, "the cluster with its repository")
    site.store_log()
    window = site.dbops(site.repository, "backup", "list", "--json").json()["window"]
    assert site.primary() == primary
    assert datetime.fromisoformat(window["newest"]).timestamp() >= written - 1
    site.no_hole()
    load.nothing_lost()


def test_one_flipped_bit_is_named_by_verify_and_the_drill_is_red(site: Site, load: Load) -> None:
    site.take("full")
    with site.flipped() as file:
        verified = site.dbops(site.repository, "backup", "verify", ok=False)
        assert verified.status == 6, verified.said
        assert file in verified.said
        named = [label for label in site.fulls() if label in verified.said]
        assert named, verified.said
        red = site.dbops(site.drill, "drill", "run", "--backup-id", named[-1], ok=False)
        assert red.status == 6, red.said
    site.dbops(site.repository, "backup", "verify")
    site.dbops(site.drill, "drill", "run")
