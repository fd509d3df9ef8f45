"""Reading binary log files: which transactions one holds, and when each was committed.

Only the frame of each event is looked at. What is *not* here: carrying the events out, which is
``mariadb-binlog``'s work (:mod:`.replay`), and which files a restore needs (:mod:`.chain`).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dbops.engines.mysql.gtid import Gtid, Position, of
from dbops.errors import VerificationFailed

_MAGIC = b"\xfebin"
_HEADER = struct.Struct("<IBIIIH")
_FORMAT, _QUERY, _XID, _STOP, _ROTATE = 15, 2, 16, 3, 4
_ENCRYPTED, _GTID, _GTID_LIST = 164, 162, 163
_XA_PREPARE = 38
_STANDALONE = 1


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
    pending: Gtid | None = None
    for event in _events(path):
        at = datetime.fromtimestamp(event.timestamp, UTC) if event.timestamp else newest
        if event.kind == _GTID_LIST:
            before = last = _gtid_list(event.body)
        elif event.kind == _FORMAT:
            begun = newest = at
        elif event.kind == _GTID:
            pending = _gtid(event)
        elif event.kind in (_STOP, _ROTATE):
            closed = True
        if pending is not None and event.ends:
            _extend(runs.setdefault(pending.history, []), pending)
            last, newest, pending = last.after(pending), at, None
    found = tuple(run for group in runs.values() for run in group)
    return Summary(path, before, last, begun, newest, closed, size, found)


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
    if runs and runs[-1].server == done.server and runs[-1].last + 1 == done.number:
        runs[-1] = runs[-1]._replace(last=done.number)
    else:
        runs.append(Run(done.history, done.server, done.number, done.number))


def transactions(path: Path) -> Iterator[Transaction]:
    """Yield every whole transaction in a file, in the order in which they were committed."""
    pending: Gtid | None = None
    for event in _events(path):
        if event.kind == _GTID:
            pending = _gtid(event)
        if pending is not None and event.ends:
            yield Transaction(pending, datetime.fromtimestamp(event.timestamp, UTC))
            pending = None


@dataclass(frozen=True)
class _Event:
    kind: int
    timestamp: int
    server: int
    end: int
    body: bytes
    ends: bool


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
    standalone = False
    while place + _HEADER.size <= whole:
        timestamp, kind, server, length, written_to, _ = _HEADER.unpack_from(data, place)
        # An event says where it ended in the server's own file: a copy with a hole does not agree.
        moved = written_to not in (0, (place + length) & 0xFFFFFFFF)
        if length < _HEADER.size or moved:
            raise VerificationFailed(f"{path} is damaged at byte {place}.")
        if place + length > whole:
            return
        start = place + _HEADER.size
        body = b""
        ends = False
        if kind == _ENCRYPTED:
            raise VerificationFailed(
                f"{path} is encrypted, and its key is the server's: switch encrypt_binlog off."
            )
        if kind in (_GTID, _GTID_LIST):
            body = data[start : place + length]
        if kind == _GTID:
            standalone = bool(_flags(body) & _STANDALONE)
        elif kind in (_XID, _XA_PREPARE):
            ends = True
        elif kind == _QUERY:
            ends = standalone or _query(data, start, place + length) in (b"COMMIT", b"ROLLBACK")
        place += length
        yield _Event(kind, timestamp, server, place, body, ends)


def _query(data: mmap.mmap, start: int, end: int) -> bytes:
    """Return the beginning of the statement in a query event."""
    _, _, name, _, more = struct.unpack_from("<IIBHH", data, start)
    place = start + 13 + more + name + 1
    return bytes(data[place : min(end, place + 8)]).split(b"\0")[0].strip(b"; ")[:8].upper()[:8]


def _flags(body: bytes) -> int:
    return body[12] if len(body) > 12 else 0


def _gtid(event: _Event) -> Gtid:
    number, domain = struct.unpack_from("<QI", event.body)
    return Gtid(str(domain), event.server, number)


def _gtid_list(body: bytes) -> Position:
    (count,) = struct.unpack_from("<I", body)
    found = []
    for place in range(count & 0x0FFFFFFF):
        domain, server, number = struct.unpack_from("<IIQ", body, 4 + place * 16)
        found.append(Gtid(str(domain), server, number))
    return of(found)
