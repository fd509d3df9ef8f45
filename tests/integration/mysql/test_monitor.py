"""The worst that the agent's account can read: the server's state, and nobody's data."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest
import yaml

from dbops.engines.mysql import client
from dbops.engines.mysql.client import Connection
from tests.integration.mysql.machine import Member

pytestmark = pytest.mark.integration

_VARS = Path(__file__).resolve().parents[3] / "roles" / "mysql" / "vars" / "main.yml"
_SECRET = "4929-1234-5678-9012"


def declared() -> tuple[list[str], str]:
    """Return what the role grants the agent everywhere, and whether the log repeats statements."""
    known = yaml.safe_load(_VARS.read_text(encoding="utf-8"))
    (mine,) = [one for one in known["__mysql_local_mariadb"] if one["user"] == "dbops"]
    annotate = known["__mysql_fixed_mariadb"].get("binlog_annotate_row_events", "ON")
    return mine["privileges"], annotate


@pytest.fixture
def agent(own: Member) -> Connection:
    privileges, annotate = declared()
    own.run(
        f"SET GLOBAL binlog_annotate_row_events = {annotate}",
        "CREATE USER dbops@localhost IDENTIFIED BY 'agent'",
        f"GRANT {', '.join(privileges)} ON *.* TO dbops@localhost",
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a TEXT)",
    )
    with own.connect() as connection:
        client.rows(connection, "INSERT INTO d.t VALUES (%s)", [_SECRET])
    return Connection(unix_socket=str(own.socket), user="dbops", password="agent")


@pytest.mark.parametrize(
    "query",
    [
        "SHOW BINLOG EVENTS",
        "SHOW RELAYLOG EVENTS",
        "SELECT * FROM d.t",
        "SELECT * FROM mysql.global_priv",
        "SELECT * FROM information_schema.processlist",
        "SELECT * FROM information_schema.innodb_trx",
        "SHOW ENGINE INNODB STATUS",
        "SHOW CREATE TABLE d.t",
        "SHOW GRANTS FOR root@localhost",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SHOW GLOBAL VARIABLES",
    ],
)
def test_it_reads_nobody_s_values(agent: Connection, own: Member, query: str) -> None:
    with own.connect() as other:
        # Open, so that what lists transactions has something to tell.
        client.rows(other, "BEGIN")
        client.rows(other, "UPDATE d.t SET a = CONCAT(%s, 'x')", [_SECRET])
        try:
            said = str(client.rows(agent, query))
        except pymysql.Error as error:
            said = str(error)
    assert _SECRET not in said
    assert "root:" not in said
