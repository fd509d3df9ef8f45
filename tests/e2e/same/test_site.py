"""Drift is told and taken back, checks and controls hold, and a fleet shows how it stands.

That a second run changes nothing is told by molecule, which ran ``site.yml`` twice before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from dbops.audit import host_controls
from lab import fleet
from tests.e2e.same.site import Site
from tests.e2e.state import changes, state


def test_what_was_changed_by_hand_is_told_then_taken_back(whole: Site) -> None:
    whole.forget()
    clean = state(whole)
    whole.drift()
    try:
        drifted = state(whole)
        assert len(changes(clean, drifted)) > 6
        told = whole.run_play("site", "--check", "--diff")
        assert changes(drifted, state(whole)) == [], "--check changed something"
        for words in whole.told:
            assert words in told.output, f"--check --diff says nothing of {words}"
        whole.run_play("site")
        whole.wait_whole()
        armed = whole.armed()
    finally:
        whole.forget()
    assert armed == "", f"made by hand and still let in: {armed}"
    assert changes(clean, state(whole)) == []
    play = whole.run_play("site", "--check", "--diff")
    assert play.changes == [], "a fleet without drift is told of some"
    assert "+++" not in play.output


def test_no_control_of_the_audit_fails(whole: Site) -> None:
    prefix, number = whole.controls
    for member in whole.members:
        findings = whole.dbops(member, "audit", "--json").json()
        ids = [finding["control_id"] for finding in findings]
        own = [f"{prefix}-{n:02}" for n in range(1, number + 1)]
        assert ids == own + [rule.control_id for rule in host_controls.RULES]
        odd = {f["control_id"]: f["detail"] for f in findings if f["status"] != "pass"}
        assert odd.keys() <= whole.profiles, (member, odd)


def test_no_control_of_a_host_fails_on_repository_and_drill_host(whole: Site) -> None:
    for host in (whole.repository, whole.drill):
        findings = json.loads(whole.root(host, "dbops audit --json"))
        assert [finding["control_id"] for finding in findings] == [
            rule.control_id for rule in host_controls.RULES
        ]
        assert [finding for finding in findings if finding["status"] != "pass"] == [], host


def test_every_check_is_ok_on_every_host(whole: Site) -> None:
    whole.dbops(whole.repository, "backup", "verify")
    whole.dbops(whole.drill, "drill", "run")
    for host in whole.hosts:
        done = whole.dbops(host, "check")
        assert done.stdout.count(": OK") > 5, done.said
        assert "FAILED" not in done.stdout, done.said


def test_fleet_status_shows_every_host(whole: Site) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dbops")), "fleet", "status", "-i",
         str(whole.inventory)],
        cwd=fleet.CHECKOUT, env={**whole.environment(), "COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if f" {whole.cluster} " in line]
    assert [row[0] for row in rows] == sorted(whole.hosts)
    assert {row[2] for row in rows} == {whole.engine}
    roles = {row[0]: row[6] for row in rows if row[0] in whole.members}
    assert roles.pop(whole.primary()) == "primary"
    assert set(roles.values()) == {"replica"}
