"""A converged fleet stays as it is; what was changed by hand is told by --check and taken back."""

from __future__ import annotations

from tests.e2e.postgresql.hosts import Site
from tests.e2e.state import changes, state

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
