"""What is changed by hand in MariaDB, and what ``--check --diff`` then tells."""

from __future__ import annotations

TOLD = (
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
STATEMENTS = """
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
ARMED = """
SELECT User FROM mysql.global_priv WHERE User IN ('intruder', 'stranger')
AND (COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) <> 1
OR COALESCE(JSON_VALUE(Priv, '$.access'), 1) <> 0)
"""
REMOVE = "DROP USER IF EXISTS intruder@'%', stranger@'10.%'; DROP ROLE IF EXISTS pirates"
