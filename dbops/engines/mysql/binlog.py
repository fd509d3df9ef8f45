"""Reading binary log files: which transactions one holds, and when each was committed.

Only the frame of each event is looked at, in MariaDB's form of it and in MySQL's. What is *not*
here: carrying the events out, which is the server's own work (:mod:`.replay`), and which files a
restore needs (:mod:`.chain`).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dbops.engines.mysql import binlog_mysql
from dbops.engines.mysql.gtid import Gtid, Position, of
from dbops.errors import VerificationFailed

MAGIC = b"\xfebin"
HEADER = struct.Struct("<IBIIIH")
FORMAT, QUERY, ROTATE, QUERY_PACKED = 15, 2, 4, 165
_XID, _STOP, _INCIDENT = 16, 3, 26
_ENCRYPTED, _GTID, _GTID_LIST = 164, 162, 163
_XA_PREPARE = 38
_STANDALONE = 1
_UNFIT = {
    _ENCRYPTED: "{path} is encrypted, and its key is the server's: switch its encryption off.",
    binlog_mysql.ANONYMOUS: "{path} has transactions without a GTID: set gtid_mode to ON.",
    _INCIDENT: "{path} says that the server lost transactions there: restore to a time before.",
}


@dataclass(frozen=True)
class Transaction:
    """One transaction: its name, and the second in which its last event was written."""

    gtid: Gtid
    at: datetime


class Part(NamedTuple):
    """Where in a file a whole transaction lies."""

    gtid: Gtid
    start: int
    end: int


class Run(NamedTuple):
    """Transactions of one history that one server wrote, their numbers without a gap."""

    history: str
    server: int
    first: int
    last: int


@dataclass(frozen=True)
class Summary:
    """What one file holds: the position before it, the one after it, and when that was.

    ``closed`` says that the server went on to another file, ``size`` is that of the file, and
    ``runs`` say which servers have written it.
    """

    path: Path
    before: Position
    after: Position
    begun_at: datetime
    last_at: datetime
    closed: bool
    size: int
    runs: tuple[Run, ...] = ()

    def writer(self, history: str, number: int) -> int | None:
        """Return which server wrote that transaction in this file, None when it is not here."""
        for run in self.runs:
            if run.history == history and run.first <= number <= run.last:
                return run.server
        return None


def summary(path: Path) -> Summary:
    """Read one file; VerificationFailed names it when it is no binary log, or an encrypted one.

    An event that is cut off at the end is left out, for the file may be one still written to.
    """
    before, last = Position(), Position()
    begun = newest = datetime.fromtimestamp(0, UTC)
    closed, size = False, _size(path)
    runs: dict[str, list[Run]] = {}
    for event in _events(path):
        if event.before is not None:
            before = last = event.before
        elif event.kind == FORMAT:
            begun = newest = event.at or newest
        elif event.kind in (_STOP, ROTATE):
            closed = True
        if event.done is not None:
            before = _assume(before, last, event.done)
            # MySQL's stay in the order of the log: what came before one is told by no number.
            group = event.done.history if event.done.server else ""
            _extend(runs.setdefault(group, []), event.done)
            last, newest = last.after(event.done), event.at or newest
    found = tuple(run for group in runs.values() for run in group)
    return Summary(path, before, before.joined(last), begun, newest, closed, size, found)


def _assume(before: Position, last: Position, done: Gtid) -> Position:
    """Return what a file follows, given its next transaction: in MySQL numbers have no gaps."""
    known = last.numbers().get(done.history, 0)
    if done.server or done.number <= known + 1:
        return before
    return before.joined(Position({done.history: Gtid(done.history, 0, done.number - 1)}))


def beginning(path: Path) -> Position:
    """Return what a file itself says that it follows, as the server shows it."""
    return next((event.before for event in _events(path) if event.before is not None), Position())


def begun(path: Path) -> bool:
    """Tell whether a file begins as a binary log does, as far as it goes."""
    with path.open("rb") as file:
        return MAGIC.startswith(file.read(4))


def damaged(path: Path) -> bool:
    """Tell whether a file with a sound beginning cannot be read: it may be all there is of it."""
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                return False
        summary(path)
    except VerificationFailed:
        return True
    except OSError:
        return False
    return False


def sound(path: Path, place: int = 0) -> int:
    """Look at a file that grows, from ``place`` on; return where to look next time.

    Raises VerificationFailed where it is damaged; OSError when it cannot be read.
    """
    place = max(place, len(MAGIC))
    with path.open("rb") as file:
        if not MAGIC.startswith(file.read(len(MAGIC))):
            raise VerificationFailed(f"{path} is not a binary log.")
        while True:
            file.seek(place)
            head = file.read(HEADER.size)
            if len(head) < HEADER.size:
                return place
            length = _length(path, place, head)
            if place + length > os.fstat(file.fileno()).st_size:
                return place
            place += length


def _length(path: Path, place: int, head: bytes) -> int:
    """Return an event's length; an event says where it ended in the server's own file, too.

    A copy with a hole does not agree.
    """
    _, _, _, length, written_to, _ = HEADER.unpack(head)
    moved = written_to not in (0, (place + length) & 0xFFFFFFFF)
    if length < HEADER.size or moved:
        raise VerificationFailed(f"{path} is damaged at byte {place}.")
    return int(length)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise VerificationFailed(f"{path} cannot be read: {error.strerror}.") from None


def _extend(runs: list[Run], done: Gtid) -> None:
    goes_on = Run(done.history, done.server, 0, done.number - 1)
    if runs and runs[-1]._replace(first=0) == goes_on:
        runs[-1] = runs[-1]._replace(last=done.number)
    else:
        runs.append(Run(done.history, done.server, done.number, done.number))


def transactions(path: Path) -> Iterator[Transaction]:
    """Yield every whole transaction in a file, in the order in which they were committed."""
    for event in _events(path):
        if event.done is not None:
            yield Transaction(event.done, event.at or datetime.fromtimestamp(0, UTC))


def parts(path: Path) -> Iterator[Part]:
    """Yield where every whole transaction lies, in the order in which they were committed.

    Raises VerificationFailed also where the server notes that it lost some.
    """
    for event in _events(path):
        if event.kind == _INCIDENT:
            raise VerificationFailed(_UNFIT[_INCIDENT].format(path=path))
        if event.done is not None:
            yield Part(event.done, event.begun, event.end)


@dataclass(frozen=True)
class _Event:
    """An event: when it was (None when it does not say), and what it tells.

    ``before`` is what a file begins with, ``done`` the transaction that this event completes, which
    lies between ``begun`` and ``end``.
    """

    kind: int
    at: datetime | None
    before: Position | None = None
    done: Gtid | None = None
    begun: int = 0
    end: int = 0


def _events(path: Path) -> Iterator[_Event]:
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise VerificationFailed(f"{path} is not a binary log.")
            size = path.stat().st_size
            if size <= 4:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from _walk(path, data)
    except OSError as error:
        raise VerificationFailed(f"{path} cannot be read: {error.strerror}.") from None


def _walk(path: Path, data: mmap.mmap) -> Iterator[_Event]:
    place, whole = 4, len(data)
    pending: _Pending | None = None
    while place + HEADER.size <= whole:
        timestamp, kind, server, _, _, _ = HEADER.unpack_from(data, place)
        length = _length(path, place, data[place : place + HEADER.size])
        if place + length > whole:
            return
        start, end = place + HEADER.size, place + length
        before: Position | None = None
        if kind in (_ENCRYPTED, binlog_mysql.ANONYMOUS):
            raise VerificationFailed(_UNFIT[kind].format(path=path))
        if kind == _GTID_LIST:
            before = _gtid_list(data[start:end])
        elif kind == binlog_mysql.PREVIOUS:
            before = binlog_mysql.previous(path, data[start:end])
        elif kind == _GTID:
            body = data[start:end]
            pending = _Pending(_gtid(server, body), place, bool(_flags(body) & _STANDALONE))
        elif kind in (binlog_mysql.PLAIN, binlog_mysql.TAGGED):
            found = binlog_mysql.head(kind, data[start:end])
            pending = _Pending(found.gtid, place, end=place + found.length, at=found.at)
        at = datetime.fromtimestamp(timestamp, UTC) if timestamp else None
        done, begun = None, place
        if pending is not None and pending.ends(kind, data, start, end):
            done, begun, at, pending = pending.gtid, pending.begun, pending.at or at, None
        place = end
        yield _Event(kind, at, before, done, begun, end)


@dataclass(frozen=True)
class _Pending:
    """The transaction being read. MySQL says where it ends and when it was, MariaDB does not."""

    gtid: Gtid
    begun: int
    standalone: bool = False
    end: int = 0
    at: datetime | None = None

    def ends(self, kind: int, data: mmap.mmap, start: int, end: int) -> bool:
        """Tell whether the event of ``kind``, from ``start`` to ``end``, is its last."""
        if self.end:
            return end >= self.end
        if kind in (_XID, _XA_PREPARE):
            return True
        if kind not in (QUERY, QUERY_PACKED):
            return False
        return self.standalone or (kind == QUERY and _ended(statement(data[start:end])[2]))


def _ended(text: bytes) -> bool:
    """Tell whether a statement, with a checksum after it or without one, ends a transaction."""
    return any(said in (b"COMMIT", b"ROLLBACK") for said in (text, text[:-4]))


def statement(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what a query event holds: its variables, its database, its text to the event's end."""
    _, _, name, _, more = struct.unpack_from("<IIBHH", body)
    place = 13 + more
    return body[13:place], body[place : place + name], body[place + name + 1 :]


def _flags(body: bytes) -> int:
    return body[12] if len(body) > 12 else 0


def _gtid(server: int, body: bytes) -> Gtid:
    number, domain = struct.unpack_from("<QI", body)
    return Gtid(str(domain), server, number)


def _gtid_list(body: bytes) -> Position:
    (count,) = struct.unpack_from("<I", body)
    found = []
    for place in range(count & 0x0FFFFFFF):
        domain, server, number = struct.unpack_from("<IIQ", body, 4 + place * 16)
        found.append(Gtid(str(domain), server, number))
    return of(found)
