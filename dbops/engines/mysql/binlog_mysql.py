"""What MySQL's binary log says of GTIDs: of one transaction, and of all before a file.

MySQL writes how long a transaction is at its head, so its end is known before it is read. What is
*not* here: the walk from event to event (:mod:`.binlog`).
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from dbops.engines.mysql.gtid import Gtid, Position, of
from dbops.errors import VerificationFailed

ANONYMOUS, PLAIN, TAGGED, PREVIOUS = 34, 33, 42, 35
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORIGINAL_FOLLOWS = 1 << 55
_UUID, _NUMBER, _TAG, _NOW, _ORIGINAL, _LENGTH = 1, 2, 3, 6, 7, 8


class Head(NamedTuple):
    """A transaction's name, when it was committed first, and its bytes with its head."""

    gtid: Gtid
    at: datetime
    length: int


def head(kind: int, body: bytes) -> Head:
    """Read the body of a GTID event, tagged or not."""
    return _tagged(body) if kind == TAGGED else _plain(body)


def _plain(body: bytes) -> Head:
    uuid, (number,) = UUID(bytes=body[1:17]), struct.unpack_from("<Q", body, 17)
    place = 42
    committed = int.from_bytes(body[place : place + 7], "little")
    place += 7
    if committed & _ORIGINAL_FOLLOWS:
        committed = int.from_bytes(body[place : place + 7], "little")
        place += 7
    return Head(Gtid(str(uuid), 0, number), _moment(committed), _packed(body, place))


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _packed(body: bytes, place: int) -> int:
    """Read a number as the protocol packs it: small ones in a byte, others behind their size."""
    size = {252: 2, 253: 3, 254: 8}.get(body[place], 0)
    return int.from_bytes(body[place + 1 : place + 1 + size], "little") if size else body[place]


class _Fields:
    """The numbered fields of a tagged event, each number written in as many bytes as it needs."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.place = 0
        self.number()  # the version of the format
        self.end = self.number()
        self.number()  # the last field that may not be passed over

    def number(self) -> int:
        """Read a number: the ones that its first byte ends with tell how many bytes follow."""
        first, size = self.body[self.place], 1
        while size < 9 and first >> (size - 1) & 1:
            size += 1
        found = int.from_bytes(self.body[self.place : self.place + size], "little")
        self.place += size
        return found >> min(size, 8)

    def signed(self) -> int:
        """Read a number whose lowest bit is its sign."""
        found = self.number()
        return -(found >> 1) - 1 if found & 1 else found >> 1

    def text(self) -> str:
        """Read a text behind its length."""
        size = self.number()
        self.place += size
        return self.body[self.place - size : self.place].decode("ascii")


def _tagged(body: bytes) -> Head:
    fields = _Fields(body)
    uuid, number, tag, committed, length = b"", 0, "", 0, 0
    while fields.place < fields.end:
        name = fields.number()
        if name == _UUID:
            uuid = bytes(fields.number() for _ in range(16))
        elif name == _TAG:
            tag = fields.text()
        elif name == _NUMBER:
            number = fields.signed()
        elif name in (_NOW, _ORIGINAL):
            committed = fields.number()
        elif name == _LENGTH:
            length = fields.number()
        else:
            fields.number()
    history = f"{UUID(bytes=uuid)}:{tag}" if tag else str(UUID(bytes=uuid))
    return Head(Gtid(history, 0, number), _moment(committed), length)


def previous(path: Path, body: bytes) -> Position:
    """Read the set of what is in the files before one; VerificationFailed when it has a hole.

    It may begin late: what a server was told to be purged is in no file (:mod:`.archive`).
    """
    (count,) = struct.unpack_from("<Q", body)
    tagged = count >> 56 == 1
    count = count >> 8 & (1 << 48) - 1 if tagged else count & (1 << 56) - 1
    place, found = 8, []
    for _ in range(count):
        history = str(UUID(bytes=body[place : place + 16]))
        place += 16
        if tagged:
            size = body[place] >> 1
            tag = body[place + 1 : place + 1 + size].decode("ascii")
            history = f"{history}:{tag}" if tag else history
            place += 1 + size
        intervals, _, after = struct.unpack_from("<QQQ", body, place)
        if intervals != 1:
            raise VerificationFailed(
                f"{path} follows a GTID set with a hole in {history}: only histories without one "
                "can be backed up and restored, so leave gtid_next to the server."
            )
        place += 8 + 16 * intervals
        found.append(Gtid(history, 0, after - 1))
    return of(found)
