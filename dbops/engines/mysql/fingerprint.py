"""The content of a cluster at one exact GTID, read while writers go on.

Two connections read half each when both came to stand at the same place, else one reads all.
What is *not* here: how they come there (:mod:`.snapshots`), what is read of a table
(:mod:`.tables`), and how a row is summed (:mod:`.columns`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from dbops.contract import Progress
from dbops.engines.mysql import client, flavor, options, snapshots, tables
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.options import Options
from dbops.engines.mysql.tables import MovedError, Piece, Table
from dbops.errors import CommandFailed, ConfigError
from dbops.manifest import DatabaseFingerprint, Fingerprint, Omission, TableFingerprint
from dbops.targets import Target

ATTEMPTS = 3
_READERS = 2
_READ_LIMIT_SECONDS = 12 * 3600
_DEFINITION = "definition of "

Connect = Callable[[], Connection]
Key = tuple[str, str]


@dataclass(frozen=True)
class Content:
    """What one snapshot held, and the place that it stands for; None without a binary log."""

    position: Position | None
    databases: tuple[DatabaseFingerprint, ...]
    bytes_read: int
    algorithm: str
    omitted: tuple[Omission, ...] = ()


def fingerprint(target: Target, progress: Progress) -> Sequence[Fingerprint]:
    """Return the fingerprint of the cluster as its first member that answers holds it."""
    opts = options.read(target)
    if target.part == "member":
        return (take(lambda: client.local(opts, timeout_seconds=_READ_LIMIT_SECONDS), progress),)
    options.require_part(target, "repository")
    from dbops.engines.mysql import members

    member = members.source(opts)
    return (take(connector(opts, member), progress),)


def connector(opts: Options, member: str) -> Connect:
    """Return what opens a connection to ``member`` that may read for as long as it takes."""
    file = opts.require_path("backup_file")
    return lambda: client.remote(opts, file, member, timeout_seconds=_READ_LIMIT_SECONDS)


def take(connect: Connect, progress: Progress) -> Fingerprint:
    """Return the content at an exact GTID; ConfigError for a server without a binary log."""
    began, taken_at = time.monotonic(), datetime.now(UTC)
    found = read(connect, progress)
    if found.position is None:
        raise ConfigError(
            "The server keeps no binary log, so its content has no exact point: run provision."
        )
    return Fingerprint(
        algorithm=found.algorithm,
        point=str(found.position),
        taken_at=taken_at,
        seconds=round(time.monotonic() - began, 3),
        bytes_read=found.bytes_read,
        databases=found.databases,
        omitted=found.omitted,
    )


def read(connect: Connect, progress: Progress) -> Content:
    """Read everything inside one snapshot; begin anew when tables are altered meanwhile."""
    for attempt in range(ATTEMPTS):
        try:
            with ExitStack() as stack:
                return _read(connect, stack, progress)
        except MovedError:
            progress(f"tables were being altered: attempt {attempt + 2}")
            time.sleep(attempt + 1)
    raise CommandFailed(
        f"Tables were altered during each of {ATTEMPTS} attempts to fix the content: take the "
        "fingerprint when no schema change runs."
    )


def _read(connect: Connect, stack: ExitStack, progress: Progress) -> Content:
    return fixed(connect, stack).read(progress)


@dataclass(frozen=True)
class Fixed:
    """A server's content as it is at ``position`` for as long as the connections stay open."""

    control: Connection
    readers: Sequence[Connection]
    position: Position | None

    def read(self, progress: Progress) -> Content:
        """Read everything; MovedError when a table is altered meanwhile."""
        return _summed(self.control, self.readers, self.position, progress)


def fixed(connect: Connect, stack: ExitStack) -> Fixed:
    """Open snapshots that agree; MovedError when tables are altered meanwhile."""
    control = stack.enter_context(_opened(connect))
    before = tables.present(control)
    readers = [stack.enter_context(_opened(connect)) for _ in range(_READERS)]
    position, readers = snapshots.begin(control, readers)
    if tables.present(control) != before:
        raise MovedError
    return Fixed(control, readers, position)


def _summed(
    control: Connection,
    readers: Sequence[Connection],
    position: Position | None,
    progress: Progress,
) -> Content:
    listed = tables.listing(control)
    names = tables.databases(control)
    counted = tables.counted(control, listed)
    omitted = tables.left_out(control, listed, counted)
    bare = {(one.database, one.name) for one in omitted}
    defined = {
        _only_defined(key) if key in bare else key: text
        for key, text in tables.definitions(readers[0], listed).items()
    }
    defined |= tables.programs(control)
    progress(f"fingerprint: {len(counted)} tables on {len(readers)} connections")
    sums = _sum(readers, [piece for one in counted for piece in tables.pieces(readers[0], one)])
    after = {(one.database, one.name): one.created for one in tables.present(control)}
    if any(after.get(_key(one), one.created) != one.created for one in listed):
        raise MovedError
    found = _assemble(names, defined, sums)
    read = sum(one.size for one in counted)
    return Content(position, found, read, flavor.of(control).summing.algorithm, omitted)


def _only_defined(key: Key) -> Key:
    """Return what an entry is called that has no rows, because they are not compared."""
    return key[0], f"{_DEFINITION}{key[1]}"


def as_named(found: Fingerprint, expected: Fingerprint) -> Fingerprint:
    """Return ``found`` with the names of earlier versions if ``expected`` has been taken by one.

    They gave a table whose rows they did not read no rows, under its plain name.
    """
    if expected.omitted:
        return found
    databases = []
    for database in found.databases:
        plain = [
            table.model_copy(update={"name": table.name.removeprefix(_DEFINITION)})
            for table in database.tables
        ]
        databases.append(database.model_copy(update={"tables": tuple(plain)}))
    return found.model_copy(update={"databases": tuple(databases)})


@contextmanager
def _opened(connect: Connect) -> Iterator[Connection]:
    connection = connect()
    try:
        tables.prepare(connection)
        yield connection
    finally:
        connection.close()


def _sum(readers: Sequence[Connection], pieces: Sequence[Piece]) -> dict[Key, tuple[int, int]]:
    """Let every reader take pieces until none is left; the first failure of any ends all."""
    todo: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    for piece in pieces:
        todo.put(piece)
    sums: dict[Key, tuple[int, int]] = {_key(piece.table): (0, 0) for piece in pieces}
    guard, failures = threading.Lock(), list[BaseException]()

    def work(reader: Connection) -> None:
        try:
            while not failures:
                piece = todo.get_nowait()
                rows, total = tables.add_up(reader, piece)
                with guard:
                    was = sums[_key(piece.table)]
                    sums[_key(piece.table)] = (was[0] + rows, was[1] + total)
        except queue.Empty:
            return
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sums


def _key(table: Table) -> Key:
    return table.database, table.name


def _assemble(
    names: Sequence[str], defined: dict[Key, str], sums: dict[Key, tuple[int, int]]
) -> tuple[DatabaseFingerprint, ...]:
    found: dict[str, list[TableFingerprint]] = {name: [] for name in names}
    for key in sorted(defined):
        rows, total = sums.get(key, (0, 0))
        found.setdefault(key[0], []).append(
            TableFingerprint(
                name=key[1],
                rows=rows,
                checksum=format(total % (1 << 128), "032x"),
                definition=defined[key],
            )
        )
    return tuple(
        DatabaseFingerprint(database=name, tables=tuple(found[name])) for name in sorted(found)
    )
