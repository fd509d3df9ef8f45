"""What a drill asks of its scratch server, and the little that it runs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pymysql
from pymysql.constants import ER

from dbops.drill import scratch
from dbops.engines.mysql import client, heartbeat, refill
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.destination import Destination
from dbops.engines.mysql.flavor import MARIADB, MYSQL, Flavor
from dbops.engines.mysql.private_server import Server
from dbops.errors import VerificationFailed

_ROOM = 1.3
_NO_SUCH_PLACE = (ER.BAD_DB_ERROR, ER.NO_SUCH_TABLE)
_TABLES = (
    "SELECT table_schema, table_name FROM information_schema.tables "
    "WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_schema NOT IN "
    "('information_schema', 'performance_schema', 'sys') ORDER BY 1, 2"
)
_FINE = ("status", "note", "info")
_CONFIGURATION = {
    # The plugin is what the role makes accounts with; others are in the data, by INSTALL SONAME.
    MARIADB.name: """[mysqld]
init-file = {first}
plugin-load-add = auth_ed25519
gtid-strict-mode = 1
log-slave-updates = 1
innodb-buffer-pool-size = {memory}
innodb-log-file-size = 256M
lower-case-table-names = 0
loose-innodb-buffer-pool-load-at-startup = 0
""",
    MYSQL.name: """[mysqld]
init-file = {first}
innodb-buffer-pool-size = {memory}
innodb-redo-log-capacity = 512M
lower-case-table-names = 0
""",
}


def configuration(
    kind: Flavor, memory: int, first: Path, settings: Mapping[str, str] | None = None
) -> str:
    """Return the scratch server's option file; ``first`` is what it is told before it answers.

    ``settings`` are those of the cluster that change what its statements and files mean.
    """
    lines = [f"{name} = {value}\n" for name, value in sorted((settings or {}).items())]
    return _CONFIGURATION[kind.name].format(memory=memory, first=first) + "".join(lines)


def make_ready(
    at: Server,
    root: Path,
    fetched: Sequence[Path],
    stop: Callable[[], None],
    settings: Mapping[str, str],
) -> None:
    """Make the scratch folder ``root`` with what the server needs, and ``fetched``, its account's.

    ``stop`` ends what a killed drill left there.
    """
    scratch.create(root, at.user, [at.data_dir, at.run_dir, *fetched], stop)
    first = root / "first.sql"
    scratch.put(first, "".join(f"{line};\n" for line in at.accounts()))
    scratch.put(at.config, configuration(at.flavor, refill.memory_bytes(), first, settings))


def newest_beat(at: Server, schema: str) -> datetime | None:
    """Return the time of the newest heartbeat that came back, None without one or its table."""
    with at.reading(30) as connection:
        try:
            return heartbeat.newest(connection, schema)
        except pymysql.Error as error:
            if error.args[:1] and error.args[0] in _NO_SUCH_PLACE:
                return None
            raise


def room(way: Destination) -> int:
    """Return about how many bytes the restored backup and its log will take."""
    return int(_ROOM * way.bytes) + way.log_bytes


def check_tables(connection: Connection) -> str:
    """Let the server check every table; VerificationFailed names the first that is not sound."""
    found = client.rows(connection, _TABLES)
    for database, table in found:
        place = f"{client.name(database)}.{client.name(table)}"
        for _, _, kind, text in client.rows(connection, f"CHECK TABLE {place}"):
            fine = kind in _FINE and (
                kind != "status" or str(text) in ("OK", "Table is already up to date")
            )
            if not fine:
                raise VerificationFailed(f"Table {table!r} of database {database!r}: {text}.")
    return f"{len(found)} tables are sound"
