"""How a server is told to apply relay log files by itself, and what it says of it, by flavour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dbops.engines.mysql import client, flavor, gtid
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.gtid import Position

_ALL_READ = "has read all relay log"
_BUSY = (
    "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Slave_worker' "
    "AND state <> 'Waiting for work from SQL thread'"
)
_MYSQL_BUSY = (
    "SELECT COUNT(*) FROM performance_schema.threads WHERE name = 'thread/sql/replica_worker' "
    "AND processlist_state <> 'Waiting for an event from Coordinator'"
)
# What a server was configured to leave out or to forgive must not shorten a restore.
_FILTERS = ("do_db", "ignore_db", "do_table", "ignore_table", "wild_do_table", "wild_ignore_table")


@dataclass(frozen=True)
class Look:
    """How far the applying is: ``done`` of what was given, ``idle`` when all of it was read."""

    running: bool
    done: Position
    idle: bool
    error: str


@dataclass(frozen=True)
class Applier:
    """The statements of one flavour.

    ``begin`` takes the number to run as and the first relay file's name, and returns the server's
    own number, which ``end`` gives back to it.
    """

    begin: Callable[[Connection, int, str], int]
    look: Callable[[Connection], Look]
    end: Callable[[Connection, int], None]


def of(connection: Connection) -> Applier:
    """Return what fits the server at the other end."""
    return _ALL[flavor.of(connection).name]


def _mariadb_begin(connection: Connection, number: int, first: str) -> int:
    former = int(client.value(connection, "SELECT @@GLOBAL.server_id"))
    client.rows(connection, "SET GLOBAL server_id = %s", [number])
    for name in _FILTERS:
        client.rows(connection, f"SET GLOBAL replicate_{name} = ''")
    client.rows(connection, "SET GLOBAL replicate_rewrite_db = ''")
    client.rows(
        connection,
        "CHANGE MASTER TO MASTER_HOST = 'none', MASTER_USE_GTID = no, RELAY_LOG_FILE = %s, "
        "RELAY_LOG_POS = 4",
        [first],
    )
    client.rows(connection, "SET GLOBAL relay_log_purge = 1")
    client.rows(connection, "START SLAVE SQL_THREAD")
    return former


def _mariadb_look(connection: Connection) -> Look:
    (now,) = client.records(connection, "SHOW SLAVE STATUS")
    done = gtid.parse(str(client.value(connection, "SELECT @@GLOBAL.gtid_slave_pos") or ""))
    read = _ALL_READ in str(now["Slave_SQL_Running_State"])
    return Look(
        running=now["Slave_SQL_Running"] == "Yes",
        done=done,
        idle=read and client.value(connection, _BUSY) == 0,
        error=str(now["Last_SQL_Error"]) if now["Last_SQL_Errno"] else "",
    )


def _mariadb_end(connection: Connection, former: int) -> None:
    client.rows(connection, "STOP SLAVE SQL_THREAD")
    client.rows(connection, "RESET SLAVE ALL")
    client.rows(connection, "SET GLOBAL gtid_slave_pos = ''")
    client.rows(connection, "SET GLOBAL server_id = %s", [former])


def _mysql_begin(connection: Connection, number: int, first: str) -> int:
    former = int(client.value(connection, "SELECT @@GLOBAL.server_id"))
    client.rows(connection, "SET GLOBAL server_id = %s", [number])
    none = ", ".join(f"REPLICATE_{name.upper()} = ()" for name in (*_FILTERS, "rewrite_db"))
    client.rows(connection, f"CHANGE REPLICATION FILTER {none}")
    client.rows(
        connection,
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'none', RELAY_LOG_FILE = %s, RELAY_LOG_POS = 4",
        [first],
    )
    client.rows(connection, "SET GLOBAL relay_log_purge = 1")
    client.rows(connection, "START REPLICA SQL_THREAD")
    return former


def _mysql_look(connection: Connection) -> Look:
    (now,) = client.records(connection, "SHOW REPLICA STATUS")
    read = _ALL_READ in str(now["Replica_SQL_Running_State"])
    return Look(
        running=now["Replica_SQL_Running"] == "Yes",
        done=flavor.MYSQL.position(connection),
        idle=read and client.value(connection, _MYSQL_BUSY) == 0,
        error=str(now["Last_SQL_Error"]) if now["Last_SQL_Errno"] else "",
    )


def _mysql_end(connection: Connection, former: int) -> None:
    client.rows(connection, "STOP REPLICA SQL_THREAD")
    client.rows(connection, "RESET REPLICA ALL")
    client.rows(connection, "SET GLOBAL server_id = %s", [former])


_ALL = {
    flavor.MARIADB.name: Applier(_mariadb_begin, _mariadb_look, _mariadb_end),
    flavor.MYSQL.name: Applier(_mysql_begin, _mysql_look, _mysql_end),
}
