"""Samples of a member: what it says of itself, and what only MariaDB's and MySQL's servers have.

Lag in seconds is the age of the newest heartbeat that this member has replayed: it goes on growing
whatever the link does, where ``Seconds_Behind_Master`` becomes unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pymysql

from dbops.contract import Sample
from dbops.engines.mysql import client, flavor, heartbeat, members
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.monitor.target import Link, Vitals
from dbops.targets import Target

_OPEN = (
    "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, trx_started, NOW(6))), 0) / 1e6, "
    "COUNT(trx_wait_started), "
    "COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, trx_wait_started, NOW(6))), 0) / 1e6 "
    "FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()"
)
_contact: dict[tuple[str, str], float] = {}


def vitals(connection: Connection) -> Vitals:
    """Return what the server says of itself as a whole."""
    settings, counters = client.variables(connection), client.status(connection)
    longest, blocked, wait = client.rows(connection, _OPEN)[0]
    return Vitals(
        version=settings["version"].split("-")[0],
        started=time.time() - float(counters["Uptime"]),
        sessions=float(counters["Threads_connected"]),
        sessions_limit=float(settings["max_connections"]),
        longest_transaction_seconds=float(longest),
        blocked_sessions=float(blocked),
        longest_lock_wait_seconds=float(wait),
    )


def beat(options: Options, connection: Connection) -> float | None:
    """Return the time of the newest heartbeat, None when there is none to be had."""
    try:
        found = heartbeat.newest(connection, options.heartbeat_schema)
    except (pymysql.err.ProgrammingError, pymysql.err.OperationalError) as error:
        if error.args and error.args[0] in (1142, 1146, 1044, 1049):
            return None
        raise
    return found.timestamp() if found else None


def link(target: Target, connection: Connection, beat_at: float) -> Link | None:
    """Return how the member that ``connection`` goes to follows the primary, None if it is one."""
    replica = members.following(connection)
    key, now = (target.cluster, target.member), time.time()
    if replica is None or replica["Slave_IO_Running"] == "Yes":
        _contact[key] = now
    if replica is None:
        return None
    up = replica["Slave_IO_Running"] == "Yes" and replica["Slave_SQL_Running"] == "Yes"
    return Link(up, _contact.get(key, beat_at), unapplied(replica))


def more(connection: Connection) -> Iterator[Sample]:
    """Yield what only MariaDB's and MySQL's servers have."""
    written = client.rows(connection, flavor.of(connection).written)
    yield Sample(
        "dbops_binlog_bytes_total",
        float(written[-1][1] or 0) if written else 0.0,
        (),
        "Bytes written to the binary log since the server's start.",
        "counter",
    )
    replica = members.following(connection)
    if replica is None:
        yield _semi_sync(connection)
        return
    yield Sample(
        "dbops_replication_errors",
        float(bool(int(replica["Last_IO_Errno"]) or int(replica["Last_SQL_Errno"]))),
        (),
        "Whether replication has stopped with an error.",
    )


def unapplied(replica: Mapping[str, Any]) -> float:
    """Return how many bytes of log were received and are not applied yet."""
    if replica["Master_Log_File"] == replica["Relay_Master_Log_File"]:
        behind = int(replica["Read_Master_Log_Pos"]) - int(replica["Exec_Master_Log_Pos"])
        return float(max(0, behind))
    return float(int(replica["Relay_Log_Space"]))


def _semi_sync(connection: Connection) -> Sample:
    found: dict[str, str] = dict(
        client.rows(connection, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%'")
    )
    names = flavor.of(connection).semi_sync
    acknowledged = found.get(f"{names}_status") == "ON"
    clients = float(found.get(f"{names}_clients", 0) or 0)
    return Sample(
        "dbops_replication_semisync_active",
        float(acknowledged and clients > 0),
        (),
        "Whether commits wait for a replica's receipt just now.",
    )
