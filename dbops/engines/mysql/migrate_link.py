"""The link of a migration: a named replication connection from the other cluster's primary.

It lives beside a cluster's own replication and never counts as that. The two clusters write in
domains of their own, so their histories stand side by side in one binary log. What is *not* here:
the order of steps (:mod:`.migrate`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pymysql

from dbops.contract import Progress
from dbops.engines.mysql import client, gtid, members, tables
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.client import name as quoted
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.options import Options
from dbops.errors import CommandFailed, ConfigError, Refused, Unreachable
from dbops.runner import Command, check_pipe

NAME = members.MIGRATION
_MARK = "migration"
_NEAR_SECONDS = 5
_STOP_SECONDS = 60.0
_CONNECT_SECONDS = 60.0
_LIMIT_SECONDS = 24 * 3600.0
_UNFIT = (
    "SELECT table_schema, table_name, engine FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND table_schema NOT IN "
    "('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2 LIMIT 1"
)
_FLOATS = (
    "SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c "
    "JOIN information_schema.tables t USING (table_schema, table_name) "
    "WHERE c.data_type = 'float' AND t.table_type = 'BASE TABLE' AND c.table_schema NOT IN "
    "('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1, 2, 3 LIMIT 1"
)
_SESSIONS = (
    "SELECT id FROM information_schema.processlist WHERE user NOT IN ('root', 'system user', "
    "'event_scheduler', 'mariadb.sys') AND user NOT LIKE 'dbops%' AND id <> CONNECTION_ID()"
)


def there(opts: Options, timeout_seconds: float = 60) -> Connection:
    """Return a connection to the primary of the other cluster.

    Raises ConfigError when it is not named in the target, Unreachable when no primary answers.
    """
    if not opts.migrate_hosts or opts.migrate_file is None:
        raise ConfigError(
            "The target names no other cluster: set dbops_migrate_peers for both and run site."
        )
    said = "none of its members is a primary"
    for member, address in opts.migrate_hosts.items():
        try:
            found = client.at(
                address, opts.migrate_port, opts.migrate_file, member, opts.ca_file, timeout_seconds
            )
        except Unreachable as error:
            said = str(error)
            continue
        if members.standing(found).role == "primary":
            return found
        found.close()
    raise Unreachable(f"The other cluster's primary does not answer: {said}")


def names(opts: Options, connection: Connection) -> list[str]:
    """Return the databases that a migration carries."""
    return sorted(n for n in tables.databases(connection) if n != opts.heartbeat_schema)


def is_open(connection: Connection) -> bool:
    """Tell whether applications may write."""
    return not int(client.value(connection, "SELECT @@GLOBAL.read_only"))


def holds_tables(connection: Connection, database: str) -> bool:
    """Tell whether a database is there and not empty."""
    return any(one.database == database for one in tables.present(connection))


def position(connection: Connection) -> Position:
    """Return how far the server's binary log is."""
    return gtid.parse(str(client.value(connection, "SELECT @@GLOBAL.gtid_binlog_pos") or ""))


def require_carriable(opts: Options, connection: Connection) -> None:
    """Raise Refused for what would not come over whole."""
    found = client.rows(connection, _UNFIT)
    if found:
        database, table, engine = found[0]
        raise Refused(
            f"Table {table!r} of database {database!r} is {engine}'s, which has no snapshots: "
            "convert it to InnoDB first."
        )
    rounded = client.rows(connection, _FLOATS)
    if rounded:
        database, table, column = rounded[0]
        raise Refused(
            f"Column {column!r} of table {table!r} of database {database!r} is a FLOAT, which a "
            "copy would round to six digits: make it a DOUBLE first."
        )
    if client.value(connection, "SELECT @@GLOBAL.binlog_format") != "ROW":
        raise Refused("The binary log is not in the format ROW: run provision, then restart.")


def require_domains(ours: Connection, theirs: Connection) -> None:
    """Raise Refused when both clusters number their transactions in one domain."""
    here, other = (
        int(client.value(one, "SELECT @@GLOBAL.gtid_domain_id")) for one in (ours, theirs)
    )
    if here == other:
        raise Refused(
            f"Both clusters write in the GTID domain {here}: give this one a domain of its own "
            "(mysql_gtid_domain_id) while it is empty."
        )


def close(connection: Connection) -> None:
    """Let applications only read from now on."""
    client.rows(connection, "SET GLOBAL read_only = 1")


def open_for_writing(connection: Connection) -> None:
    """Let applications write from now on."""
    client.rows(connection, "SET GLOBAL read_only = 0")


def end_sessions(connection: Connection) -> None:
    """End the sessions of applications, so that they come again where they may write."""
    for (number,) in client.rows(connection, _SESSIONS):
        with suppress(pymysql.Error):
            client.rows(connection, f"KILL CONNECTION {int(number)}")


def copy(opts: Options, ours: Connection, wanted: Sequence[str], tell: Progress) -> Position:
    """Copy the databases out of one snapshot of the other side; return the GTID it stands for.

    No writer there is held up. The dump itself notes its place in the log for our connection.
    """
    tell(f"copying {', '.join(wanted)}")
    address = configure(opts, ours)
    check_pipe(_reader(opts, address, wanted), _writer(opts), tell)
    noted = _state(ours)
    place = (noted["Master_Log_File"], noted["Read_Master_Log_Pos"])
    with there(opts) as theirs:
        found = client.value(theirs, "SELECT BINLOG_GTID_POS(%s, %s)", place)
    if not found:
        raise CommandFailed("The copy does not say which GTID it stands for: begin again.")
    return gtid.parse(str(found))


def _reader(opts: Options, address: str, wanted: Sequence[str]) -> Command:
    return Command(
        (
            "/usr/bin/mariadb-dump",
            f"--defaults-extra-file={opts.migrate_file}",
            f"--host={address}",
            f"--port={opts.migrate_port}",
            "--ssl-verify-server-cert",
            "--single-transaction",
            "--master-data=1",
            "--routines",
            "--events",
            "--triggers",
            "--hex-blob",
            "--quick",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1073741824",
            "--databases",
            *wanted,
        ),
        title="reading the other cluster",
    )


def _writer(opts: Options) -> Command:
    return Command(
        (
            "/usr/bin/mariadb",
            "--no-defaults",
            f"--socket={opts.socket}",
            "--user=root",
            f"--init-command=SET @@default_master_connection = '{NAME}'",
            "--binary-mode",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1073741824",
        ),
        title="writing the copy",
    )


def received(connection: Connection) -> Position:
    """Return how far the server has received, together with what it wrote itself."""
    text = str(client.value(connection, "SELECT @@GLOBAL.gtid_slave_pos") or "")
    return gtid.parse(text).joined(position(connection))


def configure(opts: Options, ours: Connection) -> str:
    """Set the connection up, over TLS with the name verified; return the other side's address."""
    assert opts.migrate_file is not None
    who = client.credentials(opts.migrate_file)
    with there(opts) as theirs:
        address = str(theirs.host)
    server = client.variables(ours)
    client.rows(
        ours,
        client.sql(_CHANGE, n=_quoted()),
        [
            address,
            opts.migrate_port,
            who.user,
            who.password,
            str(who.ca or server["ssl_ca"]),
            str(who.certificate or server["ssl_cert"]),
            str(who.key or server["ssl_key"]),
        ],
    )
    client.rows(ours, client.sql(_FILTER, n=NAME), [f"{opts.heartbeat_schema}.%,mysql.%"])
    return address


def follow(opts: Options, ours: Connection, start: Position) -> None:
    """Let the connection go on from ``start``."""
    configure(opts, ours)
    # The server wants to see its own history in this list, too.
    client.rows(ours, "SET GLOBAL gtid_slave_pos = %s", [str(start.joined(position(ours)))])


_CHANGE = (
    "CHANGE MASTER {n} TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = %s, "
    "MASTER_PASSWORD = %s, MASTER_SSL = 1, MASTER_SSL_CA = %s, MASTER_SSL_CERT = %s, "
    "MASTER_SSL_KEY = %s, MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_CONNECT_RETRY = 5, "
    "MASTER_USE_GTID = slave_pos"
)
_FILTER = "SET GLOBAL {n}.replicate_wild_ignore_table = %s"


def _quoted() -> str:
    return f"'{NAME}'"


def resume(connection: Connection) -> None:
    """Let the connection receive and apply."""
    client.rows(connection, client.sql("START SLAVE {n}", n=_quoted()))


def stop(connection: Connection) -> None:
    """Let the connection neither receive nor apply."""
    client.rows(connection, client.sql("STOP SLAVE {n}", n=_quoted()))


@contextmanager
def held(connection: Connection) -> Iterator[None]:
    """Keep this side where it is while the block runs; what happens, it goes on afterwards."""
    stop(connection)
    try:
        yield
    finally:
        resume(connection)


def come_to(connection: Connection, point: Position, tell: Progress) -> None:
    """Apply exactly up to ``point`` and stop there."""
    until = "START SLAVE {n} UNTIL master_gtid_pos = %s"
    client.rows(connection, client.sql(until, n=_quoted()), [str(point)])
    tell(f"this cluster comes to {point}")
    wait_for(connection, point, _LIMIT_SECONDS)
    end = time.monotonic() + _STOP_SECONDS
    while _state(connection)["Slave_SQL_Running"] == "Yes":
        if time.monotonic() > end:
            raise CommandFailed(f"This cluster went past {point}: run prove again.")
        time.sleep(0.1)
    stop(connection)


def wait_for(connection: Connection, point: Position, seconds: float) -> None:
    """Return when everything up to ``point`` has been applied; CommandFailed when it never is."""
    end = time.monotonic() + seconds
    while not received(connection).holds(point):
        _fine(_state(connection))
        if time.monotonic() > end:
            raise CommandFailed(f"{point} was not applied here within {seconds:.0f} s.")
        time.sleep(0.02)


def lag(connection: Connection, seconds: float) -> int | None:
    """Return how many seconds this side is behind; None when it has no link for so long."""
    end = time.monotonic() + seconds
    while True:
        known = _state(connection)["Seconds_Behind_Master"]
        if known is not None or time.monotonic() > end:
            return None if known is None else int(known)
        time.sleep(0.2)


def wait_near(connection: Connection, tell: Progress) -> None:
    """Return when this side is a few seconds behind at most."""
    began = time.monotonic()
    while True:
        state = _state(connection)
        _fine(state)
        lag = state["Seconds_Behind_Master"]
        if lag is not None and int(lag) <= _NEAR_SECONDS:
            return
        if lag is not None:
            began = time.monotonic()
        limit = _CONNECT_SECONDS if lag is None else _LIMIT_SECONDS
        if time.monotonic() - began > limit:
            said = state["Last_IO_Error"] or "it does not catch up"
            raise CommandFailed(f"This cluster cannot follow the other one: {said}")
        tell("connecting" if lag is None else f"{lag} s behind")
        time.sleep(0.5)


def _state(connection: Connection) -> dict[str, Any]:
    found = members.following(connection, NAME)
    if found is None:
        raise CommandFailed("This cluster follows no other one.")
    return found


def _fine(state: Mapping[str, Any]) -> None:
    for kind in ("SQL", "IO"):
        # An address that does not answer is tried again; only what was applied and failed is final.
        if int(state[f"Last_{kind}_Errno"]) and state[f"Slave_{kind}_Running"] == "No":
            raise CommandFailed(f"Replication has stopped: {state[f'Last_{kind}_Error']}")


def behind_bytes(state: Mapping[str, Any]) -> int:
    """Return how many bytes of log were received and are not applied yet."""
    if state["Master_Log_File"] == state["Relay_Master_Log_File"]:
        return max(0, int(state["Read_Master_Log_Pos"]) - int(state["Exec_Master_Log_Pos"]))
    return int(state["Relay_Log_Space"])


def mark(opts: Options, connection: Connection) -> None:
    """Write down here where the side that was left has to go on from."""
    table = f"{quoted(opts.heartbeat_schema)}.{_MARK}"
    here = str(position(connection))
    client.rows(
        connection,
        client.sql(
            "CREATE TABLE IF NOT EXISTS {t} (id TINYINT PRIMARY KEY, position TEXT NOT NULL)",
            t=table,
        ),
    )
    client.rows(connection, client.sql("REPLACE INTO {t} VALUES (1, %s)", t=table), [here])


def marked(opts: Options, connection: Connection) -> Position:
    """Return what :func:`mark` wrote down on the other side; Refused when it did not."""
    table = f"{quoted(opts.heartbeat_schema)}.{_MARK}"
    try:
        text = client.value(connection, client.sql("SELECT position FROM {t}", t=table))
    except pymysql.Error:
        text = None
    if not text:
        raise Refused("The other cluster was not switched to: there is nothing to follow.")
    return gtid.parse(str(text))


def forget(connection: Connection) -> None:
    """Remove the connection: with one, even a stopped one, a server starts read-only."""
    if members.following(connection, NAME) is not None:
        stop(connection)
        client.rows(connection, client.sql("RESET SLAVE {n} ALL", n=_quoted()))


def remove(opts: Options, connection: Connection) -> None:
    """Remove the connection and what it was set up with."""
    forget(connection)
    table = f"{quoted(opts.heartbeat_schema)}.{_MARK}"
    client.rows(connection, client.sql("DROP TABLE IF EXISTS {t}", t=table))
