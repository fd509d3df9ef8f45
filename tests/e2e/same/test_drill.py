"""Drills: proven with production away, and red without isolation."""

from __future__ import annotations

from typing import Any

import pytest

from lab import faults
from tests.e2e.hosts import Load, Site


def _last(site: Site) -> dict[str, Any]:
    done: list[dict[str, Any]] = site.dbops(site.drill, "drill", "history", "--json").json()
    return done[-1]


def _scratch_is_gone(site: Site) -> bool:
    path = f"/var/lib/dbops/{site.cluster}/scratch"
    return site.root(site.drill, f"ls -d {path} 2>/dev/null || echo gone", ok=False) == "gone"


def test_a_drill_needs_no_production_host(load: Load) -> None:
    site = load.site
    with load.running():
        load.more(50)
        site.take("full")
        load.more(50)
        site.take("log")
    first, second = site.members
    with faults.frozen(site.lab, first), faults.frozen(site.lab, second):
        site.dbops(site.drill, "drill", "run")
    record = _last(site)
    assert record["proven"] is True
    assert record["tables"]
    assert all(table["equal"] for table in record["tables"])
    assert sum(table["rows_expected"] for table in record["tables"]) >= sum(site.rows.values())
    assert 0 <= record["rpo_seconds"] <= record["rpo_objective_seconds"]
    assert 0 < record["rto_seconds"] <= record["rto_objective_seconds"]
    assert _scratch_is_gone(site)
    site.heal()


_FAKES = {
    "no cell at all": """#!/bin/sh
while [ "$1" != -- ]; do shift; done; shift 4
exec /usr/bin/python3 -I /opt/dbops/lib/python3*/site-packages/dbops/drill/isolated.py "$@"
""",
    "a cell on the host's network": """#!/usr/bin/python3 -I
import os, sys
os.execv("/usr/bin/bwrap.kept", [word for word in sys.argv if word != "--unshare-net"])
""",
    "a cell that says nothing": "#!/bin/sh\nexit 1\n",
}


@pytest.mark.parametrize("what", _FAKES)
def test_a_drill_without_isolation_starts_nothing_and_is_red(whole: Site, what: str) -> None:
    tool = "/usr/bin/bwrap"
    fake = f"cat > {tool} <<'END'\n{_FAKES[what]}END\nchmod 0755 {tool}"
    whole.root(whole.drill, f"mv {tool} {tool}.kept\n{fake}")
    try:
        done = whole.dbops(whole.drill, "drill", "run", ok=False)
    finally:
        whole.root(whole.drill, f"mv {tool}.kept {tool}")
    assert done.status == 6, done.said
    assert "solation is not proven" in done.said
    record = _last(whole)
    assert record["proven"] is False
    names = [step["name"] for step in record["steps"] if step["name"] != "clean-up"]
    assert names == ["isolation"]
    assert _scratch_is_gone(whole)


def test_the_report_is_one_page_that_fetches_nothing(whole: Site) -> None:
    page = whole.dbops(whole.drill, "drill", "report", "--output", "-").stdout
    assert page.lower().startswith("<!doctype html>")
    assert whole.cluster in page
    assert "<script" not in page
    assert "://" not in page.replace("http://www.w3.org", "")
