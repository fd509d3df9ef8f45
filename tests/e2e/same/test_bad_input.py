"""Bad words that need an engine to be told: one clear sentence, and nothing half done."""

from __future__ import annotations

import pytest

from tests.e2e.refusals import refused
from tests.e2e.same.site import Site

pytestmark = pytest.mark.usefixtures("nothing_changes")


@pytest.mark.parametrize("time", ["2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_a_time_outside_of_the_recovery_window_is_told_the_window(site: Site, time: str) -> None:
    words = ("restore", "run", "--time", time, "--dry-run")
    done = site.dbops(site.primary(), *words, ok=False)
    refused(done, 2, "recovery window", "to 2")
    assert done.stdout == ""


@pytest.mark.parametrize("verb", ["restore", "switchover"])
def test_a_play_that_replaces_something_asks_for_the_exact_name(site: Site, verb: str) -> None:
    for words in ((), ("-e", f"dbops_confirm={site.cluster}x")):
        play = site.run_play(verb, *words, ok=False)
        assert play.status != 0
        assert "the exact name of the cluster" in play.said
        assert "Nothing was changed" in play.said


def test_a_migration_without_a_second_cluster_is_refused(site: Site) -> None:
    play = site.migrate("switch", "elsewhere", "-e", "dbops_confirm=elsewhere", ok=False)
    assert play.status != 0
    assert "missing required" not in play.said
    assert "on both sides" in play.said
    assert '"elsewhere"' in play.said
    assert "Nothing was changed" in play.said
