"""What differs between MariaDB and MySQL itself: programs, statements, options, the log's names.

A flavour is chosen by the target's option, or by what a server says of itself. What is *not* here:
the form of a GTID (:mod:`.gtid`) and of the log (:mod:`.binlog`), which tell by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbops.engines.mysql import client, columns, gtid
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.columns import Summing
from dbops.engines.mysql.gtid import Position
from dbops.errors import VerificationFailed
from dbops.manifest import Kind

SKIPPED = 1_000_000
_NAMES = (("Replica_", "Slave_"), ("Source", "Master"), ("Channel_Name", "Connection_name"))
_CHECKPOINT = re.compile(r"The latest check point \(for incremental\): '(\d+)'")
_GTID = re.compile(
    r"binlog position: filename '([^']*)', position '(\d+)', GTID of the last change '([^']*)'"
)
_COPIED = re.compile(r"Redo log \(from LSN (\d+) to (\d+)\) was copied")
_DUMPED = re.compile(r"The dump holds the GTIDs '([^']+)'")
_SIZE = re.compile(r"The stream is (\d+) bytes long")
_GRAVE = re.compile(r"\b(?:ERROR|FATAL|error|failed)\b.*")
_LATE = re.compile(r":\d+-(\d+)")
_SINGLE = re.compile(r":(\d+)(?=[,:]|$)")


@dataclass(frozen=True)
class Said:
    """What is said of a stream: where an increment goes on, the GTID it is at, and its bytes.

    ``file`` and ``offset`` are the place in the binary log that the data are at, if it is said.
    """

    checkpoint: str
    position: str
    size: int
    file: str = ""
    offset: int = 0


@dataclass(frozen=True)
class Flavor:
    """One of the two servers. Programs are paths, statements are SQL.

    ``streams`` are the backups that its tool can make, by kind, and the name of what is stored,
    which ends in ``.zst``; what earlier versions stored lacks that ending and is not compressed.
    ``private`` are options of a server that dbops starts for itself. ``wanted`` are settings
    without which a backup, a replay or a crash would lose something. ``purged`` asks for what has
    happened and is in none of the server's files, where these do not tell it by themselves,
    ``rounded`` for columns whose values a backup does not keep to the last digit.
    """

    name: str
    title: str
    server: str
    client: str
    reader: str
    streams: Mapping[Kind, str]
    private: tuple[str, ...]
    wanted: Mapping[str, str]
    session: str
    links: str
    log_end: str
    log_start: str
    readers: str
    life: str
    backup_log: Callable[[Sequence[str]], Said]
    semi_sync: str
    written: str
    summing: Summing
    position: Callable[[Connection], Position]
    seed: Callable[[Connection, Position], None]
    begin_anew: Callable[[Connection, Position, Position], None]
    follow: Callable[[int, Path], tuple[str, ...]]
    beginning: Callable[[str], Position]
    purged: str
    rounded: str

    def following(self, connection: Connection) -> list[dict[str, Any]]:
        """Return how a server follows others, one row for each, in MariaDB's names."""
        return [
            {_plain(name): found for name, found in row.items()}
            for row in client.records(connection, self.links)
        ]


def _plain(name: str) -> str:
    """Return MariaDB's name of a column of the replica's status."""
    for new, old in _NAMES:
        name = name.replace(new, old)
    return name


def named(name: str) -> Flavor:
    """Return the flavour that a target names."""
    return _ALL[name]


def of(connection: Connection) -> Flavor:
    """Return the flavour of the server at the other end."""
    return MARIADB if "mariadb" in str(getattr(connection, "server_version", "")).lower() else MYSQL


def _mariadb_position(connection: Connection) -> Position:
    return gtid.parse(str(client.value(connection, "SELECT @@GLOBAL.gtid_binlog_pos") or ""))


def _mariadb_seed(connection: Connection, position: Position) -> None:
    client.rows(connection, "RESET MASTER")
    client.rows(connection, "SET GLOBAL gtid_slave_pos = ''")
    client.rows(connection, "SET GLOBAL gtid_binlog_state = %s", [str(position)])


def _mariadb_begin_anew(connection: Connection, position: Position, highest: Position) -> None:
    for name, last in position.last.items():
        number = max(last.number, highest.numbers().get(name, 0)) + SKIPPED
        client.rows(connection, "SET SESSION gtid_domain_id = %s", [int(name)])
        client.rows(connection, "SET SESSION gtid_seq_no = %s", [number])
        client.rows(connection, "FLUSH TABLES")


def _mariadb_follow(server_id: int, ca_file: Path) -> tuple[str, ...]:
    return (
        f"--stop-never-slave-server-id={server_id}",
        f"--ssl-ca={ca_file}",
        "--ssl-verify-server-cert",
    )


def _mariadb_log(lines: Sequence[str]) -> Said:
    text = "\n".join(lines)
    _require_good_end("mariadb-backup", lines)
    checkpoint, position = _CHECKPOINT.search(text), _GTID.search(text)
    if checkpoint is None or not _COPIED.search(text):
        raise VerificationFailed("mariadb-backup ended well and yet names no redo position.")
    if position is None:
        raise VerificationFailed(
            "mariadb-backup names no GTID: the member keeps no binary log, so run provision."
        )
    file, offset, last = position.groups()
    return Said(checkpoint[1], str(gtid.parse(last)), _size(lines), file, int(offset))


def _size(lines: Sequence[str]) -> int:
    found = _SIZE.search("\n".join(lines))
    if found is None:
        raise VerificationFailed("the stream did not come to its end.")
    return int(found[1])


def _require_good_end(tool: str, lines: Sequence[str]) -> None:
    if not any(line.rstrip().endswith("completed OK!") for line in lines):
        grave = [match[0] for line in lines if (match := _GRAVE.search(line))]
        words = grave[-1] if grave else "its log has no last line"
        raise VerificationFailed(f"{tool} did not end well: {words[:200]}.")


def _mysql_log(lines: Sequence[str]) -> Said:
    _require_good_end("mysqldump", lines)
    held = _DUMPED.findall("\n".join(lines))
    if not held:
        raise VerificationFailed(
            "mysqldump names no GTID: the member keeps no binary log, so run provision."
        )
    return Said("", str(gtid.parse(_exact(",".join(held)))), _size(lines))


def _exact(text: str) -> str:
    """Return what a server says of its set: to it, a number alone is a set of one."""
    return _SINGLE.sub(r":\1-\1", text.replace("\n", ""))


def _mysql_position(connection: Connection) -> Position:
    return gtid.parse(_exact(str(client.value(connection, "SELECT @@GLOBAL.gtid_executed") or "")))


def _mysql_seed(connection: Connection, position: Position) -> None:
    client.rows(connection, "RESET BINARY LOGS AND GTIDS")
    client.rows(connection, "SET GLOBAL gtid_purged = %s", [str(position)])


def _mysql_begin_anew(connection: Connection, position: Position, highest: Position) -> None:
    """A restored server has a history of its own, which begins with this."""
    client.rows(connection, "FLUSH TABLES")


def _mysql_follow(server_id: int, ca_file: Path) -> tuple[str, ...]:
    return (
        f"--connection-server-id={server_id}",
        f"--ssl-ca={ca_file}",
        "--ssl-mode=VERIFY_IDENTITY",
    )


_DURABLE = {
    "log_bin": "ON",
    "sync_binlog": "1",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "ON",
    "binlog_format": "ROW",
}
_PRIVATE = (
    "--skip-networking",
    "--skip-log-error",
    "--read-only=0",
    "--event-scheduler=OFF",
    "--local-infile=0",
    "--max-allowed-packet=1073741824",
    # Nobody writes here but the replay, and the server is shut down in order after it.
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=0",
)
_SESSION = (
    "SET SESSION time_zone = '+00:00', sql_mode = '', sql_quote_show_create = 1, "
    "lock_wait_timeout = 5, net_write_timeout = 3600, "
)
_LIFE = (
    "SELECT UNIX_TIMESTAMP(create_time) FROM information_schema.tables "
    "WHERE table_schema = 'mysql' AND table_name = 'innodb_index_stats'"
)

MARIADB = Flavor(
    name="mariadb",
    title="MariaDB",
    server="/usr/sbin/mariadbd",
    client="/usr/bin/mariadb",
    reader="/usr/bin/mariadb-binlog",
    streams={"full": "base.mbstream.zst", "incremental": "incremental.mbstream.zst"},
    private=(
        *_PRIVATE,
        "--skip-slave-start",
        "--plugin-load-add=ha_blackhole",
        "--rpl-semi-sync-master-enabled=0",
        "--master-info-file={0.relay}/master.info",
        "--relay-log-info-file={0.relay}/relay.info",
        "--secure-file-priv={0.exchange}",
        # What is applied fails or counts, whatever the configuration would forgive.
        "--slave-skip-errors=OFF",
        "--slave-exec-mode=STRICT",
        "--slave-ddl-exec-mode=STRICT",
        # CREATE TABLE … SELECT is two transactions of one number in a log that earlier versions of
        # dbops made by a replay. The order is the chain's care (:mod:`.chain`).
        "--gtid-strict-mode=0",
        # What was logged as a statement is logged as one again, and keeps its name.
        "--binlog-format=MIXED",
    ),
    wanted={**_DURABLE, "log_slave_updates": "ON", "gtid_strict_mode": "ON"},
    session=_SESSION + "max_statement_time = 0, old_mode = 'UTF8_IS_UTF8MB3'",
    links="SHOW ALL SLAVES STATUS",
    log_end="SHOW MASTER STATUS",
    log_start="Gtid_list",
    readers="SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Binlog Dump' "
    "AND user = 'dbops_replication'",
    life=_LIFE,
    backup_log=_mariadb_log,
    semi_sync="Rpl_semi_sync_master",
    written="SHOW GLOBAL STATUS LIKE 'Binlog_bytes_written'",
    summing=columns.MARIADB,
    position=_mariadb_position,
    seed=_mariadb_seed,
    begin_anew=_mariadb_begin_anew,
    follow=_mariadb_follow,
    beginning=lambda text: gtid.parse(text.strip("[]")),
    purged="",
    rounded="",
)
MYSQL = Flavor(
    name="mysql",
    title="MySQL",
    server="/usr/sbin/mysqld",
    client="/usr/bin/mysql",
    reader="/usr/bin/mysqlbinlog",
    streams={"full": "base.parts.zst"},
    private=(
        *_PRIVATE,
        "--super-read-only=0",
        "--skip-replica-start",
        "--disabled-storage-engines=",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--log-replica-updates=ON",
        "--mysqlx=0",
        "--secure-file-priv=NULL",
        "--loose-rpl-semi-sync-source-enabled=0",
        "--replica-skip-errors=OFF",
        "--replica-exec-mode=STRICT",
    ),
    wanted={
        **_DURABLE,
        "log_replica_updates": "ON",
        "gtid_mode": "ON",
        "enforce_gtid_consistency": "ON",
        "replica_preserve_commit_order": "ON",
    },
    session=_SESSION + "max_execution_time = 0, information_schema_stats_expiry = 0, "
    "show_create_table_verbosity = 0, show_gipk_in_create_table_and_information_schema = 1",
    links="SHOW REPLICA STATUS",
    log_end="SHOW BINARY LOG STATUS",
    log_start="Previous_gtids",
    readers="SELECT COUNT(*) FROM performance_schema.threads "
    "WHERE processlist_command = 'Binlog Dump GTID' AND processlist_user = 'dbops_replication'",
    life="SELECT @@server_uuid",
    backup_log=_mysql_log,
    semi_sync="Rpl_semi_sync_source",
    written="SELECT 'written', sum_number_of_bytes_write "
    "FROM performance_schema.file_summary_by_event_name "
    "WHERE event_name = 'wait/io/file/sql/binlog'",
    summing=columns.MYSQL,
    position=_mysql_position,
    seed=_mysql_seed,
    begin_anew=_mysql_begin_anew,
    follow=_mysql_follow,
    beginning=lambda text: gtid.parse(_LATE.sub(r":1-\1", text.replace("\n", ""))),
    purged="SELECT @@GLOBAL.gtid_purged",
    rounded="SELECT table_schema, table_name, column_name FROM information_schema.columns "
    "WHERE data_type = 'float' AND table_schema NOT IN "
    "('mysql', 'information_schema', 'performance_schema', 'sys') LIMIT 5",
)
_ALL = {one.name: one for one in (MARIADB, MYSQL)}
