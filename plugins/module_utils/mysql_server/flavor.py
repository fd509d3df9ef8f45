"""What differs between MariaDB and MySQL for the modules that ask a server by its own client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMES = ("mariadb", "mysql")
_LINK = {
    "host": "HOST",
    "user": "USER",
    "password": "PASSWORD",
    "port": "PORT",
    "ssl": "SSL",
    "ca_file": "SSL_CA",
    "cert_file": "SSL_CERT",
    "key_file": "SSL_KEY",
    "verify": "SSL_VERIFY_SERVER_CERT",
}


@dataclass(frozen=True)
class Flavor:
    """One of the two: its programs and its words.

    ``state`` asks for what a server is; its column ``before`` is empty when its logs hold all that
    ever happened. ``settings`` asks for name and value of each setting and, where it
    ``tells_fixed``, whether it can be set only at start. ``stored`` asks how replication is
    configured, empty where the file master.info says it. ``clauses`` are the words for that.
    """

    client: str
    server: str
    state: str
    status: str
    settings: str
    stored: str
    source: str
    replica: str
    change: str
    clauses: Mapping[str, str]
    more: tuple[str, ...]
    forget: str
    tells_fixed: bool

    def column(self, name: str) -> str:
        """Return what this server calls a column of the replica's status."""
        return name.replace("Source", self.source).replace("Replica", self.replica)

    def follow(self, wanted: Mapping[str, str]) -> str:
        """Return the SQL that configures and starts replication, given each part of the link."""
        numbers = ("port", "ssl", "verify")
        clauses = [
            f"{clause}={wanted[name] if name in numbers else quoted(wanted[name])}"
            for name, clause in self.clauses.items()
        ]
        change = f"{self.change} {', '.join([*clauses, *self.more])}"
        word = self.replica.upper()
        return f"STOP {word};\n{change};\nSTART {word};\n"

    def link(self, row: Mapping[str, str]) -> dict[str, Any]:
        """Return what one row of the replica's status says."""

        def said(name: str) -> str:
            return row[self.column(name)]

        seconds = said("Seconds_Behind_Source")
        problem = row["Last_SQL_Error"] or row["Last_IO_Error"]
        return {
            "upstream_host": said("Source_Host"),
            "streaming": said("Replica_IO_Running") == said("Replica_SQL_Running") == "Yes",
            "seconds_behind": int(seconds) if seconds.isdigit() else -1,
            "replication_problem": problem or None,
        }


MARIADB = Flavor(
    client="mariadb",
    server="/usr/sbin/mariadbd",
    state="SELECT @@version AS version, @@server_id AS server_id, @@read_only AS read_only,"
    " @@gtid_binlog_pos AS gtid_position, @@gtid_current_pos AS gtid_current,"
    " @@gtid_binlog_state AS gtid_state, @@gtid_slave_pos AS gtid_applied,"
    " @@gtid_slave_pos AS `before`",
    status="SHOW SLAVE STATUS",
    settings="SELECT VARIABLE_NAME, GLOBAL_VALUE, READ_ONLY"
    " FROM information_schema.SYSTEM_VARIABLES WHERE GLOBAL_VALUE IS NOT NULL",
    stored="",
    source="Master",
    replica="Slave",
    change="CHANGE MASTER TO",
    clauses={name: f"MASTER_{word}" for name, word in _LINK.items()},
    # What the server wrote itself counts as received, so that a former primary goes on after it.
    more=("MASTER_USE_GTID=slave_pos", "MASTER_DEMOTE_TO_SLAVE=1", "MASTER_CONNECT_RETRY=2"),
    forget="STOP SLAVE;\nRESET SLAVE ALL;\n",
    tells_fixed=True,
)
_EXECUTED = "REPLACE(@@GLOBAL.gtid_executed, '\\n', '')"
MYSQL = Flavor(
    client="mysql",
    server="/usr/sbin/mysqld",
    state="SELECT @@version AS version, @@server_id AS server_id, @@read_only AS read_only,"
    f" {_EXECUTED} AS gtid_position, {_EXECUTED} AS gtid_current, {_EXECUTED} AS gtid_state,"
    " '' AS gtid_applied, @@GLOBAL.gtid_purged AS `before`",
    status="SHOW REPLICA STATUS",
    settings="SELECT VARIABLE_NAME, VARIABLE_VALUE, '' FROM performance_schema.global_variables",
    stored="SELECT Host AS host, User_name AS user, User_password AS password, Port AS port,"
    " Enabled_ssl AS `ssl`, Ssl_ca AS ca_file, Ssl_cert AS cert_file, Ssl_key AS key_file,"
    " Ssl_verify_server_cert AS verify, IF(Enabled_auto_position, 'True', 'False') AS gtid"
    " FROM mysql.slave_master_info WHERE Channel_name = '' AND Host <> ''",
    source="Source",
    replica="Replica",
    change="CHANGE REPLICATION SOURCE TO",
    clauses={name: f"SOURCE_{word}" for name, word in _LINK.items()},
    more=("SOURCE_AUTO_POSITION=1", "SOURCE_CONNECT_RETRY=2", "SOURCE_RETRY_COUNT=4294967295"),
    forget="STOP REPLICA;\nRESET REPLICA ALL;\n",
    tells_fixed=False,
)
ALL = {"mariadb": MARIADB, "mysql": MYSQL}


def quoted(value: str) -> str:
    """Return ``value`` as SQL text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows that a client printed with ``--batch``, by the names of their columns."""
    lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
