"""Drills: proven with production away, cut off from it, and red without isolation."""

from __future__ import annotations

from typing import Any

import pytest

from lab import faults
from tests.e2e.hosts import Load
from tests.e2e.same.site import Site


def _last(site: Site) -> dict[str, Any]:
    done: list[dict[str, Any]] = site.dbops(site.drill, "drill", "history", "--json").json()
    return done[-1]


def _scratch_is_gone(site: Site) -> bool:
    path = f"/var/lib/dbops/{site.cluster}/scratch"
    return site.root(site.drill, f"ls -d {path} 2>/dev/null || echo gone", ok=False) == "gone"


def test_a_drill_needs_no_production_host(site: Site, load: Load) -> None:
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


def test_what_a_drill_restores_cannot_reach_production(whole: Site) -> None:
    member, repository = whole.ports
    ports = {**dict.fromkeys(whole.members, member), whole.repository: repository}
    probes = "; ".join(
        f"timeout 2 bash -c '</dev/tcp/{whole.lab.address(host)}/{port}' 2>/dev/null && echo {host}"
        for host, port in ports.items()
    )
    assert whole.root(whole.drill, f"{probes}; true").split() == [*ports], "the probe is broken"
    outer = whole.root(whole.drill, "readlink /proc/self/ns/net /proc/self/ns/pid").split()
    running = whole.start(whole.drill, "drill", "run")
    inside = whole.root(
        whole.drill,
        # What asks a program for its version is not in a cell, and is not looked at.
        f"here=$(readlink /proc/self/ns/net); for i in $(seq 1200); do "
        f"for pid in $(pgrep -u dbops-drill -x {whole.program}) ''; do "
        '[ -n "$pid" ] && [ "$(readlink /proc/$pid/ns/net)" != "$here" ] && '
        "kill -STOP $pid && break 2; done; sleep 0.05; done; "
        "readlink /proc/$pid/ns/net /proc/$pid/ns/pid; stat -c %U /proc/$pid; "
        "ls /proc/$pid/root/etc/dbops /proc/$pid/root/root 2>/dev/null; "
        "nsenter --net=/proc/$pid/ns/net cat /proc/self/net/dev | grep : | cut -d: -f1; "
        f'nsenter --net=/proc/$pid/ns/net bash -c "{probes}; true"; kill -CONT $pid',
    ).split()
    assert running.wait(180) == 0
    assert inside[0].startswith("net:["), inside
    assert inside[1].startswith("pid:["), inside
    assert not set(inside[:2]) & set(outer)
    assert inside[2] == "dbops-drill"
    assert inside[3:] == ["lo"], f"the restored server sees or reaches {inside[3:]}"


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
