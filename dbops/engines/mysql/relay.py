"""Relay log files made of archived binary log: the transactions that are wanted, byte for byte.

A server applies them as it would what it received from another one, so a statement means to it
what it meant to the server that logged it. A folder of files belongs to one server and one replay;
the server may be somebody else's by now, so no link of its making is followed. What is *not* here:
the applying itself (:mod:`.replay`).
"""

from __future__ import annotations

import os
import pwd
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbops.engines.mysql import binlog
from dbops.engines.mysql.binlog import FORMAT, HEADER, MAGIC, ROTATE, Part
from dbops.engines.mysql.binlog_mysql import PREVIOUS
from dbops.engines.mysql.gtid import Gtid, Position
from dbops.engines.mysql.scheduled import Statement, statements
from dbops.errors import VerificationFailed

BASE = "relay-bin"
"""What the files are called, a number after it."""
INDEX = f"{BASE}.index"
_ARTIFICIAL = 0x20
_CRC32 = 1
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Written:
    """What was written: the files' names, the last transaction of each history, and statements
    that schedule something, in order.
    """

    names: tuple[str, ...]
    last: Position
    scheduling: tuple[Statement, ...]


def write(
    files: Sequence[Path], start: Position, until: Position | None, place: Path, user: str
) -> Written:
    """Write what is in ``files`` after ``start``, up to ``until`` if given, into ``place``.

    The folder is there, and without such files. Raises VerificationFailed for a damaged file.
    """
    names: list[str] = []
    last, scheduling = Position(), list[Statement]()
    with _folder(place) as folder:
        for path in files:
            wanted = [part for part in binlog.parts(path) if _wanted(part.gtid, start, until)]
            if not wanted:
                continue
            names.append(f"{BASE}.{len(names) + 1:06d}")
            with _new(folder, names[-1], user) as out, path.open("rb") as source:
                described = _format(source.fileno(), path)
                trailing = _CHECKSUM_BYTES if described[-_CHECKSUM_BYTES - 1] == _CRC32 else 0
                known = _known(source.fileno(), len(MAGIC) + len(described))
                os.write(out, MAGIC + described + known + _origin(described, path.name, trailing))
                for begin, end in _ranges(wanted):
                    _copy(source.fileno(), out, begin, end)
                scheduling += statements(source.fileno(), wanted, trailing)
            for part in wanted:
                last = last.after(part.gtid)
        with _new(folder, INDEX, user) as out:
            os.write(out, "".join(f"{place / name}\n" for name in names).encode())
    return Written(tuple(names), last, tuple(scheduling))


def _wanted(one: Gtid, start: Position, until: Position | None) -> bool:
    return not start.holds(one) and (until is None or until.holds(one))


def _ranges(wanted: Sequence[Part]) -> Iterator[tuple[int, int]]:
    begin, end = wanted[0].start, wanted[0].start
    for part in wanted:
        if part.start != end:
            yield begin, end
            begin = part.start
        end = part.end
    yield begin, end


@contextmanager
def _folder(place: Path) -> Iterator[int]:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _new(folder: int, name: str, user: str) -> Iterator[int]:
    """Yield a handle of a new file, which is ``user``'s once it is written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield handle
        if os.geteuid() == 0:
            account = pwd.getpwnam(user)
            os.fchown(handle, account.pw_uid, account.pw_gid)
    finally:
        os.close(handle)


def _format(source: int, path: Path) -> bytes:
    """Return the event that a file begins with, which says how the others are written."""
    _, kind, _, length, _, _ = HEADER.unpack(os.pread(source, HEADER.size, len(MAGIC)))
    if kind != FORMAT:
        raise VerificationFailed(f"{path} does not begin as a binary log does.")
    return os.pread(source, length, len(MAGIC))


def _known(source: int, place: int) -> bytes:
    """Return the event at ``place`` if it says what came before the file, as MySQL's must."""
    head = os.pread(source, HEADER.size, place)
    if len(head) < HEADER.size or HEADER.unpack(head)[1] != PREVIOUS:
        return b""
    return os.pread(source, HEADER.unpack(head)[3], place)


def _origin(described: bytes, name: str, trailing: int) -> bytes:
    """Return the event that says which of the other server's files this is.

    Parallel workers compare that name with the next: without one, MariaDB 10.11 crashes.
    """
    server = HEADER.unpack(described[: HEADER.size])[2]
    body = struct.pack("<Q", len(MAGIC)) + name.encode()
    size = HEADER.size + len(body) + trailing
    event = HEADER.pack(0, ROTATE, server, size, 0, _ARTIFICIAL) + body
    return event + (struct.pack("<I", zlib.crc32(event)) if trailing else b"")


def _copy(source: int, out: int, begin: int, end: int) -> None:
    while begin < end:
        done = os.sendfile(out, source, begin, end - begin)
        if not done:
            raise VerificationFailed("The archived binary log became shorter while it was read.")
        begin += done
