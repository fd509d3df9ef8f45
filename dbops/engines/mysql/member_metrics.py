"""Samples of a member: is it up, what role, how far behind, how full, how long its certificate.

Lag in seconds is the age of the newest heartbeat that this member has replayed: it goes on growing
whatever the link does, where ``Seconds_Behind_Master`` becomes unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pymysql

from dbops.contract import Sample
from dbops.engines.mysql import client, flavor, handshake, heartbeat, members
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.errors import Unreachable
from dbops.monitor import samples
from dbops.targets import Target

_STATEMENT_SECONDS = 5.0
_OPEN = (
    "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, trx_started, NOW(6))), 0) / 1e6, "
    "COUNT(trx_wait_started), "
    "COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, trx_wait_started, NOW(6))), 0) / 1e6 "
    "FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()"
)
_contact: dict[tuple[str, str], float] = {}


def collect(target: Target, options: Options) -> Iterator[Sample]:
    """Yield what can be had without the server, then what it says; Unreachable when it is down."""
    data_dir = options.require_path("data_dir")
    yield from samples.disk("data", data_dir)
    yield from samples.disk("log", data_dir)
    address = handshake.own_address(target, options)
    yield from samples.certificate(address, handshake.certificate)
    try:
        connection = client.local(options, options.agent_user, timeout_seconds=_STATEMENT_SECONDS)
    except Unreachable:
        yield from _down()
        raise
    with connection:
        try:
            yield Sample("dbops_up", 1.0, (), _UP)
            yield from _server(connection)
            yield from replication(target, options, connection)
        except pymysql.Error as error:
            yield from _down()
            raise Unreachable(
                f"The server on {target.member} stopped answering: {client.reason(error)}."
            ) from None


def _down() -> Iterator[Sample]:
    yield Sample("dbops_up", 0.0, (), _UP)
    for name in ("seconds", "bytes"):
        yield Sample(f"dbops_replication_lag_{name}_known", 0.0, (), samples.KNOWN)


def _server(connection: Connection) -> Iterator[Sample]:
    settings, counters = client.variables(connection), client.status(connection)
    for _, written in client.rows(connection, flavor.of(connection).written):
        counters["Binlog_bytes_written"] = str(written)
    yield from server(settings, counters, time.time())
    longest, blocked, wait = client.rows(connection, _OPEN)[0]
    yield from sessions(float(longest), float(blocked), float(wait))


def server(
    settings: Mapping[str, str], counters: Mapping[str, str], now: float
) -> Iterator[Sample]:
    """Yield what the server says of itself as a whole."""
    version = settings["version"].split("-")[0]
    yield Sample("dbops_server_version_info", 1.0, (("version", version),), "The server's version.")
    started = now - float(counters["Uptime"])
    yield Sample("dbops_start_timestamp_seconds", started, (), "When the server was started.")
    used = float(counters["Threads_connected"])
    yield Sample("dbops_connections", used, (), "Sessions of clients.")
    yield Sample(
        "dbops_connections_used_ratio",
        used / max(1.0, float(settings["max_connections"])),
        (),
        "Sessions in relation to those that ordinary accounts may open.",
    )
    yield Sample(
        "dbops_binlog_bytes_total",
        float(counters.get("Binlog_bytes_written") or 0),
        (),
        "Bytes written to the binary log since the server's start.",
        "counter",
    )


def sessions(longest: float, blocked: float, wait: float) -> Iterator[Sample]:
    """Yield what the open transactions come to."""
    yield Sample(
        "dbops_longest_transaction_seconds",
        longest,
        (),
        "Age of the oldest transaction that is open.",
    )
    yield Sample("dbops_blocked_sessions", blocked, (), "Sessions that wait for a lock.")
    yield Sample(
        "dbops_longest_lock_wait_seconds",
        wait,
        (),
        "How long the session has waited that waits longest for a lock.",
    )


def replication(target: Target, options: Options, connection: Connection) -> Iterator[Sample]:
    """Yield role, heartbeat, lag and link of the member that ``connection`` goes to."""
    replica = members.following(connection)
    for role, held in (("primary", replica is None), ("replica", replica is not None)):
        yield Sample("dbops_role", float(held), (("role", role),), "Whether it holds this role.")
    beat = _beat(options, connection)
    now = time.time()
    age = max(0.0, now - beat) if beat is not None else 0.0
    yield Sample("dbops_heartbeat_age_seconds", age, (), "Age of the newest heartbeat here.")
    yield Sample("dbops_heartbeat_known", float(beat is not None), (), "Whether there is one.")
    key = (target.cluster, target.member)
    if replica is None:
        _contact[key] = now
        yield from samples.lag(0.0, 0.0, True, True)
        yield from samples.link(True, now)
        yield from _semi_sync(connection)
        return
    up = replica["Slave_IO_Running"] == "Yes" and replica["Slave_SQL_Running"] == "Yes"
    if replica["Slave_IO_Running"] == "Yes":
        _contact[key] = now
    yield from samples.lag(age, unapplied(replica), beat is not None, up)
    yield from samples.link(up, _contact.get(key, beat or 0.0))
    yield Sample(
        "dbops_replication_errors",
        float(bool(int(replica["Last_IO_Errno"]) or int(replica["Last_SQL_Errno"]))),
        (),
        "Whether replication has stopped with an error.",
    )


def _beat(options: Options, connection: Connection) -> float | None:
    try:
        found = heartbeat.newest(connection, options.heartbeat_schema)
    except (pymysql.err.ProgrammingError, pymysql.err.OperationalError) as error:
        if error.args and error.args[0] in (1142, 1146, 1044, 1049):
            return None
        raise
    return found.timestamp() if found else None


def unapplied(replica: Mapping[str, Any]) -> float:
    """Return how many bytes of log were received and are not applied yet."""
    if replica["Master_Log_File"] == replica["Relay_Master_Log_File"]:
        behind = int(replica["Read_Master_Log_Pos"]) - int(replica["Exec_Master_Log_Pos"])
        return float(max(0, behind))
    return float(int(replica["Relay_Log_Space"]))


def _semi_sync(connection: Connection) -> Iterator[Sample]:
    found: dict[str, str] = dict(
        client.rows(connection, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%'")
    )
    names = flavor.of(connection).semi_sync
    acknowledged = found.get(f"{names}_status") == "ON"
    clients = float(found.get(f"{names}_clients", 0) or 0)
    yield Sample(
        "dbops_replication_semisync_active",
        float(acknowledged and clients > 0),
        (),
        "Whether commits wait for a replica's receipt just now.",
    )


_UP = "Whether the server answers."
