"""A converged fleet stays as it is; what was changed by hand is told by --check and taken back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab import fleet
from tests.e2e.postgresql.hosts import MEMBERS, Site
from tests.e2e.postgresql.state import changes, state

_HBA = "host all all 0.0.0.0/0 trust"
_MADE_BY_HAND = ("intruder", "stranger")
_TOLD = (
    f"-{_HBA}",
    "-listen_addresses = '127.0.0.1'",
    "/etc/dbops/targets/flights.json",
    "pgbackrest-seal.timer",
    "-role intruder: superuser yes",
    "-role stranger: login yes",
    "-role stranger: member of flights_owner",
    "-role flights_writer: createdb yes",
    "-role flights_writer: member of pg_write_all_data",
    "-database flights: table flights.flights: DELETE to flights_writer",
    "+database flights: database flights: CONNECT to flights_writer",
)


def test_a_second_run_changes_nothing(whole: Site) -> None:
    before = state(whole)
    whole.converged()
    assert changes(before, state(whole)) == []


def test_mitogen_finds_nothing_to_change_either(
    whole: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "strategy", "dbops_fast")
    whole.converged()


def _drift(site: Site) -> None:
    primary, standby = site.primary(), site.standby()
    config = site.settings(standby)["options"]["config_dir"]
    site.root(standby, f"sed -i \"s/^listen_addresses.*/listen_addresses = '127.0.0.1'/\" "
              f"{config}/postgresql.conf")  # fmt: skip
    site.root(primary, f"echo '{_HBA}' >> {config}/pg_hba.conf")
    site.root("drill1", "chmod 0644 /etc/dbops/targets/flights.json")
    site.root("backup1", "systemctl disable --now pgbackrest-seal.timer")
    for statement in (
        "CREATE ROLE intruder LOGIN SUPERUSER",
        "ALTER ROLE flights_writer CREATEDB",
        "GRANT pg_write_all_data TO flights_writer",
        "CREATE ROLE stranger LOGIN PASSWORD 'strange' IN ROLE flights_owner",
        "REVOKE CONNECT ON DATABASE flights FROM flights_writer",
    ):
        site.ask(primary, statement)
    site.root(primary, "cd /; runuser -u postgres -- psql -Xqc "
              "'GRANT DELETE ON flights.flights TO flights_writer' flights")  # fmt: skip


def _forget(site: Site) -> None:
    for role in _MADE_BY_HAND:
        site.ask(site.primary(), f"DROP ROLE IF EXISTS {role}")


def test_what_was_changed_by_hand_is_told_then_taken_back(whole: Site) -> None:
    site = whole
    _forget(site)
    clean = state(site)
    _drift(site)
    try:
        drifted = state(site)
        assert len(changes(clean, drifted)) > 8
        told = site.run_play("site", "--check", "--diff")
        assert changes(drifted, state(site)) == [], "--check changed something"
        for words in _TOLD:
            assert words in told.output, f"--check --diff says nothing of {words}"

        site.run_play("site")
    finally:
        primary = site.primary()
        left = site.ask(
            primary,
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('intruder', 'stranger') "
            "AND (rolcanlogin OR rolsuper)",
        )
        _forget(site)
    assert left == "0", "a role made by hand may still log in"
    assert changes(clean, state(site)) == []


def test_a_check_of_the_mended_fleet_has_nothing_to_tell(whole: Site) -> None:
    before = state(whole)
    play = whole.run_play("site", "--check", "--diff")
    assert play.changes == []
    assert play.changed == {}
    assert "+++" not in play.output
    assert changes(before, state(whole)) == []


@pytest.mark.parametrize("member", MEMBERS)
def test_no_control_of_the_audit_fails(whole: Site, member: str) -> None:
    findings = whole.dbops(member, "audit", "--json").json()
    assert [finding["control_id"] for finding in findings] == [f"PG-{n:02}" for n in range(1, 31)]
    odd = {f["control_id"]: f["detail"] for f in findings if f["status"] != "pass"}
    assert odd.keys() <= {"PG-15"}, odd  # pgaudit is a profile, off by default


def test_every_check_is_ok_on_every_host(whole: Site) -> None:
    whole.dbops("backup1", "backup", "verify")
    whole.dbops("drill1", "drill", "run")
    for host in whole.lab.hosts:
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
    rows = [line.split() for line in done.stdout.splitlines() if " flights " in line]
    assert [row[0] for row in rows] == sorted(whole.lab.hosts)
    roles = {row[0]: row[6] for row in rows}
    assert roles[whole.primary()] == "primary"
    assert roles[whole.standby()] == "replica"
