"""What runs on a member when the repository host asks for a backup: check, then run the tool.

It is the forced command of the stream account's key, so its only input is a line that a stranger
may have chosen: ``full`` or ``incremental LSN``, with ``zstd`` after it for a compressed stream, or
``info``, and nothing else. The tool's log goes to standard error, its stream to standard output.
Before a dump come the programs that it is taken without. What is *not* here: who calls
(:mod:`.backup`), and what programs are (:mod:`.programs`).
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import pymysql

from dbops.engines.mysql import client, programs
from dbops.engines.mysql.client import Connection
from dbops.errors import DbopsError

CONFIG = Path("/etc/mysql/dbops.cnf")
SOCKET = Path("/run/mysqld/mysqld.sock")
_REFUSED = 64
_ABSENT = 69
_FAILED = 74
_INCREMENTAL = re.compile(r"incremental ([1-9]\d{0,19})")
# So compressed that what stays the same in the data stays the same in the stream, in one thread.
PACKER = ("/usr/bin/zstd", "-1", "--rsyncable", "-T1", "--quiet", "--stdout")
_PACKED = " zstd"
_INFO = "info"
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
_END = b"SET SQL_NOTES=@OLD_SQL_NOTES"
_HEAD_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Given:
    """How the forced command was written: the server's files, and the account to be there."""

    config: Path = CONFIG
    user: str = "mysql"
    socket: Path = SOCKET
    flavor: str = "mariadb"


@dataclass(frozen=True)
class Tool:
    """A flavour's tool: where it may be, what it is told, and how its stream is passed on.

    ``tell`` returns None for what it cannot do. ``relay`` is given the files that the stream comes
    from and goes to, and what goes ahead of it, and returns how many bytes it was and whether it is
    whole. ``ahead`` makes what the tool does not say, and holds it true until the tool has begun.
    """

    asked: str
    places: tuple[Path, ...]
    tell: Callable[[str, Given], tuple[str, ...] | None]
    relay: Callable[[int, int, Ahead], tuple[int, bool]]
    ahead: Callable[[Given], Ahead]


@dataclass
class Ahead:
    """What goes ahead of a tool's stream, and the connection that holds writers meanwhile."""

    text: bytes = b""
    holding: Connection | None = None

    def release(self) -> None:
        """Let writers go on."""
        if self.holding is not None:
            self.holding.close()
            self.holding = None


def _nothing(given: Given) -> Ahead:
    return Ahead()


def _programs(given: Given) -> Ahead:
    """Read the programs while nobody can change them, and hold that until the dump has begun.

    The global read lock, and not that of instances: a statement that waits for the latter has begun
    already, and mysqldump, which wants the former, would wait for it.
    """
    connection = client.over(given.socket, given.user, 0)
    client.rows(connection, "FLUSH LOCAL TABLES")
    client.rows(connection, "FLUSH TABLES WITH READ LOCK")
    return Ahead(programs.pack(programs.collect(connection)), connection)


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
        # Their text is users' own: it goes ahead of the dump, where nothing takes it apart.
        "--skip-routines",
        "--skip-events",
        "--skip-triggers",
        "--ignore-views",
        # They name what users named.
        "--skip-comments",
        "--hex-blob",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        *(f"--ignore-table=mysql.{name}" for name in _NOT_DUMPED),
    )


def _move(source: int, sink: int, ahead: Ahead) -> tuple[int, bool]:
    """Move a stream on inside the kernel; whether it is whole is the tool's to say."""
    size = 0
    while count := os.splice(source, sink, _PIPE_BYTES):
        size += count
    return size, True


def _watch(source: int, sink: int, ahead: Ahead) -> tuple[int, bool]:
    """Pass a dump on, and say at its end which GTID it is at and that it is whole."""
    seen = Passed(ahead=ahead)
    dump = os.fdopen(source, "rb", closefd=False)
    with dump, os.fdopen(sink, "wb", closefd=False) as out:
        seen.all(dump, out)
    if seen.whole:
        for part in filter(None, seen.position.split(",")):
            # A line each: a long line of a log is cut off.
            print(f"The dump holds the GTIDs '{part}'", file=sys.stderr)
        print("completed OK!", file=sys.stderr)
    return seen.size, seen.whole


def _run(argv: tuple[str, ...], tool: Tool, sink: int, given: Given) -> int:
    """Run the tool, pass its stream on to ``sink``, and say at its end how long it was.

    Like becoming a tool this is outside the runner, which has no part on this end of the stream.
    """
    try:
        ahead = tool.ahead(given)
    except (DbopsError, pymysql.Error) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return _FAILED
    ours, theirs = _pipe()
    child = _spawn(argv, theirs, 1)
    size, whole = 0, False
    try:
        size, whole = tool.relay(ours, sink, ahead)
    except BrokenPipeError:
        os.kill(child, signal.SIGTERM)
    finally:
        ahead.release()
    os.close(ours)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 or not whole:
        return _FAILED
    print(f"The stream is {size} bytes long", file=sys.stderr)
    return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, pymysql.Error):
        return f"The server does not show its programs: {client.reason(error)}."
    return str(error)


def _run_packed(argv: tuple[str, ...], tool: Tool, given: Given) -> int:
    """Run the tool, its stream compressed on the way."""
    ours, theirs = _pipe()
    packer = _spawn(PACKER, ours, 0)
    status = _run(argv, tool, theirs, given)
    os.close(theirs)
    packed = os.waitstatus_to_exitcode(os.waitpid(packer, 0)[1])
    return status or (0 if packed == 0 else _FAILED)


def _spawn(argv: tuple[str, ...], end: int, place: int) -> int:
    """Start a program with a pipe's end, which is then its own alone, as its file ``place``."""
    child = os.posix_spawn(
        argv[0], argv, _ENVIRONMENT,
        file_actions=[(os.POSIX_SPAWN_DUP2, end, place)], setsigdef=[signal.SIGPIPE],
    )  # fmt: skip
    os.close(end)
    return child


def _pipe() -> tuple[int, int]:
    """Return a pipe's two ends, wide so that neither side waits for the other at every piece."""
    ours, theirs = os.pipe()
    with suppress(OSError):  # beyond what an account may have
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return ours, theirs


@dataclass
class Passed:
    """What went by: the dump's beginning, where it says its GTID, its end and how long it was."""

    head: bytes = b""
    tail: bytes = b""
    size: int = 0
    ahead: Ahead = field(default_factory=Ahead)

    def all(self, source: BufferedIOBase, sink: IO[bytes]) -> None:
        """Copy all, after what goes ahead: a dump that says its GTID is in its snapshot."""
        sink.write(self.ahead.text)
        self.size += len(self.ahead.text)
        while piece := source.read1(_PIECE_BYTES):
            if len(self.head) < _HEAD_BYTES:
                self.head += piece
            if self.ahead.holding and (self.position or len(self.head) >= _HEAD_BYTES):
                self.ahead.release()
            self.tail = (self.tail + piece)[-200:]
            self.size += len(piece)
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
        _move,
        _nothing,
    ),
    "mysql": Tool("'full' or 'info'", (Path("/usr/bin/mysqldump"),), _mysql, _watch, _programs),
}


def arguments(asked: str, given: Given) -> tuple[str, ...] | None:
    """Return the tool's arguments for what was asked; None for anything that is not allowed."""
    return ("--version",) if asked == _INFO else TOOLS[given.flavor].tell(asked, given)


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
    """Run the backup tool, or become it to say its version; return the status."""
    given = _given(list(sys.argv[1:] if words is None else words))
    tool = TOOLS[given.flavor if given else "mariadb"]
    line = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    asked = line.removesuffix(_PACKED)
    packed = asked != line
    found = arguments(asked, given) if given else None
    if given is None or found is None or (packed and asked == _INFO):
        print(f"Refused: ask for {tool.asked}.", file=sys.stderr)
        return _REFUSED
    place = next((path for path in tool.places if path.exists()), tool.places[0])
    for program in (place, Path(PACKER[0])) if packed else (place,):
        if not program.exists():
            print(f"{program.name} is not installed here: run provision.", file=sys.stderr)
            return _ABSENT
    argv = (str(place), *found)
    if asked == _INFO:
        os.execve(argv[0], argv, _ENVIRONMENT)
    if packed:
        return _run_packed(argv, tool, given)
    return _run(argv, tool, sys.stdout.fileno(), given)


if __name__ == "__main__":
    sys.exit(main())
