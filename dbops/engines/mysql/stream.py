"""What runs on a member when the repository host asks for a backup: check, then run the tool.

It is the forced command of the stream account's key, so its only input is a line that a stranger
may have chosen: ``full``, ``incremental LSN`` or ``info``, and nothing else. The tool's log goes to
standard error, its stream to standard output. What is *not* here: who calls (:mod:`.backup`).
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CONFIG = Path("/etc/mysql/dbops.cnf")
SOCKET = Path("/run/mysqld/mysqld.sock")
_REFUSED = 64
_ABSENT = 69
_FAILED = 74
_INCREMENTAL = re.compile(r"incremental ([1-9]\d{0,19})")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
_OPTIONS = ("--config", "--user", "--socket", "--flavor")
# What belongs to one server and not to the data, and what every server has of its own.
_NOT_DUMPED = (
    "general_log",
    "gtid_executed",
    "innodb_index_stats",
    "innodb_table_stats",
    "ndb_binlog_index",
    "replication_asynchronous_connection_failover",
    "replication_asynchronous_connection_failover_managed",
    "replication_group_configuration_version",
    "replication_group_member_actions",
    "slave_master_info",
    "slave_relay_log_info",
    "slave_worker_info",
    "slow_log",
)
_POSITION = re.compile(rb"SET @@GLOBAL\.GTID_PURGED=/\*!80000 '\+'\*/ '([^']*)'")
_END = b"-- Dump completed"
_HEAD_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Given:
    """How the forced command was written: the server's files, and the account to be there."""

    config: Path = CONFIG
    user: str = "mysql"
    socket: Path = SOCKET
    flavor: str = "mariadb"


@dataclass(frozen=True)
class Tool:
    """A flavour's tool: where it may be, what it is told, and how it is run.

    ``tell`` returns None for what it cannot do.
    """

    asked: str
    places: tuple[Path, ...]
    tell: Callable[[str, Given], tuple[str, ...] | None]
    run: Callable[[tuple[str, ...]], int]


def _mariadb(asked: str, given: Given) -> tuple[str, ...] | None:
    found = _INCREMENTAL.fullmatch(asked)
    if asked != "full" and found is None:
        return None
    return (
        f"--defaults-file={given.config}",
        "--backup",
        "--stream=mbstream",
        f"--user={given.user}",
        "--target-dir=/tmp",  # nothing is written there: all goes into the stream
        *((f"--incremental-lsn={found[1]}",) if found else ()),
    )


def _mysql(asked: str, given: Given) -> tuple[str, ...] | None:
    if asked != "full":
        return None
    return (
        "--no-defaults",
        f"--user={given.user}",
        f"--socket={given.socket}",
        "--all-databases",
        "--single-transaction",
        # Writers are held while the snapshot is opened, so that the GTID is exactly its own.
        "--source-data=2",
        "--set-gtid-purged=ON",
        "--routines",
        "--events",
        "--triggers",
        "--hex-blob",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        *(f"--ignore-table=mysql.{name}" for name in _NOT_DUMPED),
    )


def _become(argv: tuple[str, ...]) -> int:
    return os.execve(argv[0], argv, _ENVIRONMENT)


def _watch(argv: tuple[str, ...]) -> int:
    """Pass a dump on, and say at its end which GTID it is at and that it is whole.

    Like becoming a tool this is outside the runner, which has no part on this end of the stream.
    """
    ours, theirs = os.pipe()
    child = os.posix_spawn(
        argv[0], argv, _ENVIRONMENT, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)]
    )
    os.close(theirs)
    seen = Passed()
    with os.fdopen(ours, "rb") as source:
        try:
            seen.all(source, sys.stdout.buffer)
        except BrokenPipeError:
            os.kill(child, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0 and seen.whole:
        for part in filter(None, seen.position.split(",")):
            # A line each: a long line of a log is cut off.
            print(f"The dump holds the GTIDs '{part}'", file=sys.stderr)
        print("completed OK!", file=sys.stderr)
        return 0
    return _FAILED


@dataclass
class Passed:
    """What went by: the dump's beginning, where it says its GTID, and its end."""

    head: bytes = b""
    tail: bytes = b""

    def all(self, source: IO[bytes], sink: IO[bytes]) -> None:
        """Copy all there is."""
        while piece := source.read(_PIECE_BYTES):
            if len(self.head) < _HEAD_BYTES:
                self.head += piece
            self.tail = (self.tail + piece)[-200:]
            sink.write(piece)
        sink.flush()

    @property
    def position(self) -> str:
        """The GTID set on one line, empty when it does not say one."""
        found = _POSITION.search(self.head)
        return found[1].decode("ascii", "replace").replace("\n", "") if found else ""

    @property
    def whole(self) -> bool:
        """Whether it ends as a dump does."""
        return _END in self.tail


TOOLS = {
    "mariadb": Tool(
        "'full', 'incremental LSN' or 'info'",
        (Path("/usr/bin/mariadb-backup"), Path("/usr/bin/mariabackup")),
        _mariadb,
        _become,
    ),
    "mysql": Tool("'full' or 'info'", (Path("/usr/bin/mysqldump"),), _mysql, _watch),
}


def arguments(asked: str, given: Given) -> tuple[str, ...] | None:
    """Return the tool's arguments for what was asked; None for anything that is not allowed."""
    return ("--version",) if asked == "info" else TOOLS[given.flavor].tell(asked, given)


def _given(words: list[str]) -> Given | None:
    found: dict[str, str] = {}
    while len(words) >= 2 and words[0] in _OPTIONS:
        option, value, *words = words
        found[option] = value
    if words or found.get("--flavor", "mariadb") not in TOOLS:
        return None
    return Given(
        Path(found.get("--config", CONFIG)),
        found.get("--user", "mysql"),
        Path(found.get("--socket", SOCKET)),
        found.get("--flavor", "mariadb"),
    )


def main(words: Sequence[str] | None = None) -> int:
    """Become or run the backup tool; return a status only when it was not become."""
    given = _given(list(sys.argv[1:] if words is None else words))
    tool = TOOLS[given.flavor if given else "mariadb"]
    found = arguments(os.environ.get("SSH_ORIGINAL_COMMAND", ""), given) if given else None
    if found is None:
        print(f"Refused: ask for {tool.asked}.", file=sys.stderr)
        return _REFUSED
    place = next((path for path in tool.places if path.exists()), None)
    if place is None:
        print(f"{tool.places[0].name} is not installed here: run provision.", file=sys.stderr)
        return _ABSENT
    return tool.run((str(place), *found))


if __name__ == "__main__":
    sys.exit(main())
