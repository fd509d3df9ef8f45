"""What was changed by hand is told by --check and taken back, accounts and grants included."""

from __future__ import annotations

from tests.e2e.mysql.hosts import Site
from tests.e2e.state import changes, state

_MADE_BY_HAND = "DROP USER IF EXISTS intruder@'%', stranger@'10.%'; DROP ROLE IF EXISTS pirates"
_TOLD = (
    "-max_connections = 7",
    "/etc/dbops/targets/flights-sql.json",
    "dbops-binlog-flights-sql@mysql1.service",
    "-account intruder@%",
    "-intruder@%: SUPER on *.*",
    "-account stranger@10.%",
    "-flights_writer@10.117.% has pirates",
    "-flights_writer@10.117.%: DELETE on flights.flights",
    "-account flights_writer@10.117.%: require differs",
    "-account root@localhost: other ways to log in differs",
    "-PUBLIC: SELECT on flights.*",
    "-database test",
    "+flights_write: INSERT on flights.*",
    "+flights_owner@10.117.%: EVENT on flights.*",  # it has ALL
)
_DRIFT = """
CREATE USER intruder@'%' IDENTIFIED BY 'By-hand-2026-x1';
GRANT ALL ON *.* TO intruder@'%' WITH GRANT OPTION;
CREATE USER stranger@'10.%' IDENTIFIED BY 'By-hand-2026-x2';
CREATE ROLE pirates;
GRANT pirates TO flights_writer@'10.117.%';
GRANT DELETE ON flights.flights TO flights_writer@'10.117.%';
ALTER USER flights_writer@'10.117.%' REQUIRE NONE;
ALTER USER root@localhost IDENTIFIED VIA unix_socket OR ed25519 USING PASSWORD('By-hand-2026-x3');
GRANT SELECT ON flights.* TO PUBLIC;
CREATE DATABASE test;
REVOKE INSERT ON flights.* FROM flights_write;
REVOKE EVENT ON flights.* FROM flights_owner@'10.117.%';
"""


def _drift(site: Site) -> None:
    primary, replica = site.primary(), site.replica()
    config = "/etc/mysql/dbops.cnf"
    site.root(replica, f"sed -i 's/^max_connections.*/max_connections = 7/' {config}")
    site.ask(replica, "SET GLOBAL long_query_time = 3")
    site.root("drill3", "chmod 0644 /etc/dbops/targets/flights-sql.json")
    site.root("backup3", "systemctl disable --now dbops-binlog-flights-sql@mysql1.service")
    site.ask(primary, _DRIFT)


def test_what_was_changed_by_hand_is_told_then_taken_back(whole: Site) -> None:
    site = whole
    site.ask(site.primary(), _MADE_BY_HAND)
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
        locked = site.ask(
            site.primary(),
            "SELECT COUNT(*) FROM mysql.global_priv WHERE User IN ('intruder', 'stranger') "
            "AND JSON_VALUE(Priv, '$.account_locked') = 1 AND JSON_VALUE(Priv, '$.access') = 0",
        )
    finally:
        site.ask(site.primary(), _MADE_BY_HAND)
    assert locked == "2", "an account made by hand may still log in, or may still do something"
    site.wait_whole()
    assert changes(clean, state(site)) == []
    site.converged("secure")  # ALL makes no change twice


def test_a_restart_of_every_member_keeps_the_roles(whole: Site) -> None:
    primary = whole.primary()
    for host in whole.members:
        whole.server(host, "restart")
    whole.wait_whole()
    assert whole.primary() == primary
    whole.converged("replicate")


def test_logs_are_where_they_are_said_to_be_after_a_rotation(site: Site) -> None:
    """The package's logrotate moved the audit log away from under the server."""
    host, path = site.replica(), "/var/log/mysql-audit/audit.log"
    site.root(host, "command -v logrotate || apt-get install -qqy logrotate")
    site.root(host, "logrotate -f /etc/logrotate.d/mariadb")
    before = site.root(host, f"wc -l < {path}")
    site.ask(host, "SELECT 1")
    assert int(site.root(host, f"wc -l < {path}")) > int(before)
    site.root(host, "test -e /var/log/mysql/error.log && test -e /var/log/mysql/slow.log")
