"""Reading binary log files: which transactions one holds, and when each was committed.

Only the frame of each event is looked at, in MariaDB's form of it and in MySQL's. What is *not*
here: carrying the events out, which is the server's own tool's work (:mod:`.replay`), and which
files a restore needs (:mod:`.chain`).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dbops.engines.mysql import binlog_mysql
from dbops.engines.mysql.gtid import Gtid, Position, of
from dbops.errors import VerificationFailed

_MAGIC = b"\xfebin"
_HEADER = struct.Struct("<IBIIIH")
_FORMAT, _QUERY, _XID, _STOP, _ROTATE = 15, 2, 16, 3, 4
_ENCRYPTED, _GTID, _GTID_LIST = 164, 162, 163
_XA_PREPARE = 38
_STANDALONE = 1
_UNFIT = {
    _ENCRYPTED: "{path} is encrypted, and its key is the server's: switch its encryption off.",
    binlog_mysql.ANONYMOUS: "{path} has transactions without a GTID: set gtid_mode to ON.",
}


@dataclass(frozen=True)
class Transaction:
    """One transaction: its name, and the second in which its last event was written."""

    gtid: Gtid
    at: datetime


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
        elif event.kind == _FORMAT:
            begun = newest = event.at or newest
        elif event.kind in (_STOP, _ROTATE):
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
        return _MAGIC.startswith(file.read(4))


def damaged(path: Path) -> bool:
    """Tell whether a file with a sound beginning cannot be read: it may be all there is of it."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                return False
        summary(path)
    except VerificationFailed:
        return True
    except OSError:
        return False
    return False


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


@dataclass(frozen=True)
class _Event:
    """An event: when it was (None when it does not say), and what it tells.

    ``before`` is what a file begins with, ``done`` the transaction that this event completes.
    """

    kind: int
    at: datetime | None
    before: Position | None = None
    done: Gtid | None = None


def _events(path: Path) -> Iterator[_Event]:
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
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
    while place + _HEADER.size <= whole:
        timestamp, kind, server, length, written_to, _ = _HEADER.unpack_from(data, place)
        # An event says where it ended in the server's own file: a copy with a hole does not agree.
        moved = written_to not in (0, (place + length) & 0xFFFFFFFF)
        if length < _HEADER.size or moved:
            raise VerificationFailed(f"{path} is damaged at byte {place}.")
        if place + length > whole:
            return
        start, end = place + _HEADER.size, place + length
        before: Position | None = None
        if kind in (_ENCRYPTED, binlog_mysql.ANONYMOUS):
            raise VerificationFailed(_UNFIT[kind].format(path=path))
        if kind == _GTID_LIST:
            before = _gtid_list(data[start:end])
        elif kind == binlog_mysql.PREVIOUS:
            before = binlog_mysql.previous(path, data[start:end])
        elif kind == _GTID:
            body = data[start:end]
            pending = _Pending(_gtid(server, body), bool(_flags(body) & _STANDALONE))
        elif kind in (binlog_mysql.PLAIN, binlog_mysql.TAGGED):
            found = binlog_mysql.head(kind, data[start:end])
            pending = _Pending(found.gtid, end=place + found.length, at=found.at)
        at = datetime.fromtimestamp(timestamp, UTC) if timestamp else None
        done = None
        if pending is not None and pending.ends(kind, data, start, end):
            done, at, pending = pending.gtid, pending.at or at, None
        place = end
        yield _Event(kind, at, before, done)


@dataclass(frozen=True)
class _Pending:
    """The transaction being read. MySQL says where it ends and when it was, MariaDB does not."""

    gtid: Gtid
    standalone: bool = False
    end: int = 0
    at: datetime | None = None

    def ends(self, kind: int, data: mmap.mmap, start: int, end: int) -> bool:
        """Tell whether the event of ``kind``, from ``start`` to ``end``, is its last."""
        if self.end:
            return end >= self.end
        if kind in (_XID, _XA_PREPARE):
            return True
        said = (b"COMMIT", b"ROLLBACK")
        return kind == _QUERY and (self.standalone or _query(data, start, end) in said)


def _query(data: mmap.mmap, start: int, end: int) -> bytes:
    """Return the beginning of the statement in a query event."""
    _, _, name, _, more = struct.unpack_from("<IIBHH", data, start)
    place = start + 13 + more + name + 1
    return bytes(data[place : min(end, place + 8)]).split(b"\0")[0].strip(b"; ")[:8].upper()[:8]


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
