"""The content of a server, key by key, in sums that do not depend on any order.

A table is a type of values: ``string``, ``hash`` … Keys that expire have tables of their own, one
for each type and hour of their expiry (``string expiring 2026-11-25T22``), and so have the fields
of hashes that expire. When that hour has begun its table says nothing any more and is left out of
comparisons, so an expiry raises no false alarm. The heartbeat is not content.

The server is asked in bounded pieces: keys by SCAN, large collections by cursors and ranges. What
is *not* here: how a whole server is held still meanwhile; see :mod:`.fingerprint`.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import chain, islice
from typing import Any

from dbops.contract import Progress
from dbops.engines.redis.client import REFUSALS, Ask, Connection, by_name, fields, reason, text
from dbops.errors import CommandFailed
from dbops.manifest import DatabaseFingerprint, Fingerprint, TableFingerprint

ALGORITHM = "dbops-redis-2"
FORMER = "dbops-redis-1"
"""The one of older backups: it adds up the elements of small collections, too."""

HEARTBEAT = b"dbops:heartbeat"
FUNCTIONS = "functions"
_EXPIRING = " expiring "
_HOUR = "%Y-%m-%dT%H"
_KEYS = 1000
_WHOLE_BYTES = 64 * 1024
_BATCH_BYTES = 4 * 1024 * 1024
_PIECE = 1000
_PIECE_BYTES = 1024 * 1024
_MODULUS = 1 << 128
_SORTED = 512


@dataclass
class Tally:
    """Rows and the sum of their digests, for each table of one database.

    ``still`` says that nothing is removed meanwhile, so that no cursor names a thing twice.
    """

    still: bool = False
    algorithm: str = ALGORITHM
    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    sums: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes_read: int = 0

    def add(self, table: str, *parts: bytes) -> None:
        """Count one row."""
        self.rows[table] += 1
        self.sums[table] = (self.sums[table] + digest(*parts)) % _MODULUS

    def tables(self) -> tuple[TableFingerprint, ...]:
        """Return the tables, by name."""
        return tuple(
            TableFingerprint(name=name, rows=self.rows[name], checksum=f"{self.sums[name]:032x}")
            for name in sorted(self.rows)
        )


@dataclass(frozen=True)
class _Key:
    name: bytes
    kind: str
    expires: int
    size: int


def digest(*parts: bytes) -> int:
    """Return 128 bits over ``parts``; where one ends and the next begins counts."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return int.from_bytes(state.digest(), "big")


def table_name(kind: str, expires: int) -> str:
    """Return the table of a value of type ``kind``; ``expires`` in ms since 1970, below 0 never."""
    if expires < 0:
        return kind
    try:
        moment = datetime.fromtimestamp(expires / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{kind}{_EXPIRING}in another age"
    return f"{kind}{_EXPIRING}{moment:{_HOUR}}"


def settled(found: Fingerprint, now: datetime) -> Fingerprint:
    """Return ``found`` without the tables of hours that have begun at ``now``."""
    begun = f"{now.astimezone(UTC):{_HOUR}}"

    def stays(name: str) -> bool:
        hour = name.partition(_EXPIRING)[2]
        return not hour or hour > begun

    databases = tuple(
        one.model_copy(update={"tables": tuple(t for t in one.tables if stays(t.name))})
        for one in found.databases
    )
    # A database in which all expires is no difference once it has.
    return found.model_copy(update={"databases": tuple(one for one in databases if one.tables)})


def read(
    connection: Connection, progress: Progress, still: bool = False, algorithm: str = ALGORITHM
) -> tuple[tuple[DatabaseFingerprint, ...], int]:
    """Return the content of a server that nobody writes to, and how many bytes were read.

    ``still`` says that not even an expiry removes anything there. ``algorithm`` is
    :data:`ALGORITHM` or :data:`FORMER`.
    """
    found, size = [], 0
    counts = {
        name.removeprefix("db"): fields(about.replace(",", "\n").replace("=", ":").encode())
        for name, about in connection.info("keyspace").items()
    }
    for number in sorted(counts, key=int):
        progress(f"fingerprint of database {number}: {counts[number].get('keys', '?')} keys")
        tally = Tally(still, algorithm)
        connection.ask("SELECT", number)
        for names in _names(connection, still):
            _count(connection, names if number != "0" else _without_heartbeat(names), tally)
        size += tally.bytes_read
        if tally.rows:
            found.append(DatabaseFingerprint(database=number, tables=tally.tables()))
    functions = _functions(connection)
    return (*found, *functions), size


def _without_heartbeat(names: Sequence[bytes]) -> list[bytes]:
    return [name for name in names if name != HEARTBEAT]


def _names(connection: Connection, still: bool) -> Iterator[list[bytes]]:
    """Yield every key once, in batches; SCAN names some twice when a table shrinks meanwhile."""
    seen: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, names = connection.ask("SCAN", cursor, "COUNT", _KEYS)
        fresh = list(names)
        if not still:
            fresh = [name for name in dict.fromkeys(names) if _short(name) not in seen]
            seen.update(_short(name) for name in fresh)
        if fresh:
            yield fresh
        if cursor == b"0":
            return


def _short(name: bytes) -> bytes:
    return name if len(name) <= 16 else blake2b(name, digest_size=16).digest()


def _count(connection: Connection, names: Sequence[bytes], tally: Tally) -> None:
    """Count a batch of keys: the small ones whole and many at a time, the large ones in pieces."""
    batch: list[_Key] = []
    size = 0
    for key in _describe(connection, names):
        if key.size > _WHOLE_BYTES:
            _digest_large(connection, key, tally)
            continue
        batch.append(key)
        size += key.size
        if size > _BATCH_BYTES:
            _digest_small(connection, batch, tally)
            batch, size = [], 0
    _digest_small(connection, batch, tally)


def _describe(connection: Connection, names: Sequence[bytes]) -> list[_Key]:
    asked: list[Ask] = []
    for name in names:
        asked += [("TYPE", name), ("PEXPIRETIME", name), ("MEMORY", "USAGE", name)]
    answers = connection.many(asked)
    keys = []
    for index, name in enumerate(names):
        kind, expires, size = answers[3 * index : 3 * index + 3]
        _refuse(kind, expires, size)
        # A key that has expired since it was named: -2, "none" or nothing at all.
        if kind != b"none" and expires != -2:
            keys.append(_Key(name, text(kind), int(expires), int(size or 0)))
    return keys


def _refuse(*answers: object) -> None:
    for answer in answers:
        if isinstance(answer, REFUSALS):
            raise CommandFailed(f"A key cannot be read: {reason(answer)}.")


def _whole(key: _Key) -> list[Ask]:
    """Return what gives all of a small key at once."""
    name = key.name
    if key.kind == "hash":
        return [("HGETALL", name)]
    single: dict[str, Ask] = {
        "string": ("GET", name),
        "list": ("LRANGE", name, 0, -1),
        "set": ("SMEMBERS", name),
        "zset": ("ZRANGE", name, 0, -1, "WITHSCORES"),
        "stream": ("XRANGE", name, "-", "+"),
    }
    return [single.get(key.kind, ("DUMP", name))]


def _digest_small(connection: Connection, keys: Sequence[_Key], tally: Tally) -> None:
    if not keys:
        return
    answers = connection.many([ask for key in keys for ask in _whole(key)])
    expiries = _field_expiries(connection, keys, answers)
    for key, answer in zip(keys, answers, strict=True):
        if answer is None or (answer == [] and key.kind != "stream"):
            continue
        _refuse(answer)
        tally.bytes_read += key.size
        _Row(connection, key, tally, expiries.get(key.name)).whole(answer)


def _field_expiries(
    connection: Connection, keys: Sequence[_Key], answers: Sequence[Any]
) -> dict[bytes, list[int]]:
    """Return when the fields of small hashes expire, asked for in one go."""
    if not knows_field_expiry(connection):
        return {}
    fields_of = {
        key.name: answer[::2]
        for key, answer in zip(keys, answers, strict=True)
        if key.kind == "hash" and isinstance(answer, list) and answer
    }
    asked: list[Ask] = [_expiry_of(name, names) for name, names in fields_of.items()]
    said = connection.many(asked) if asked else []
    _refuse(*said)
    return {name: [int(one) for one in found] for name, found in zip(fields_of, said, strict=True)}


def _expiry_of(key: bytes, names: Sequence[bytes]) -> Ask:
    return ("HPEXPIRETIME", key, "FIELDS", len(names), *names)


def _digest_large(connection: Connection, key: _Key, tally: Tally) -> None:
    tally.bytes_read += key.size
    row = _Row(connection, key, tally)
    if key.kind == "string":
        row.ordered(_string_pieces(connection, key.name))
    elif key.kind == "list":
        row.ordered(_list_items(connection, key.name))
    elif key.kind == "stream":
        row.stream(_stream_entries(connection, key.name))
    elif key.kind in _SCANS:
        row.loose(_elements(connection, key, tally.still))
    else:
        row.whole(connection.ask("DUMP", key.name))


_SCANS = {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}


def _string_pieces(connection: Connection, name: bytes) -> Iterator[bytes]:
    length = int(connection.ask("STRLEN", name))
    for start in range(0, length, _PIECE_BYTES):
        yield connection.ask("GETRANGE", name, start, start + _PIECE_BYTES - 1)


def _list_items(connection: Connection, name: bytes) -> Iterator[bytes]:
    for start in range(0, int(connection.ask("LLEN", name)), _PIECE):
        yield from connection.ask("LRANGE", name, start, start + _PIECE - 1)


def _stream_entries(connection: Connection, name: bytes) -> Iterator[Any]:
    start = b"-"
    while True:
        entries = connection.ask("XRANGE", name, start, "+", "COUNT", _PIECE)
        yield from entries
        if len(entries) < _PIECE:
            return
        start = b"(" + entries[-1][0]


def _elements(connection: Connection, key: _Key, still: bool) -> Iterator[tuple[bytes, ...]]:
    """Yield every element of a large collection once."""
    seen: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, flat = connection.ask(_SCANS[key.kind], key.name, cursor, "COUNT", _PIECE)
        width = 1 if key.kind == "set" else 2
        for start in range(0, len(flat), width):
            if not still and _short(flat[start]) in seen:
                continue
            if not still:
                seen.add(_short(flat[start]))
            yield tuple(flat[start : start + width])
        if cursor == b"0":
            return


class _Row:
    """One key on its way into a tally."""

    def __init__(
        self, connection: Connection, key: _Key, tally: Tally, expiries: list[int] | None = None
    ) -> None:
        self.connection, self.key, self.tally = connection, key, tally
        self.expiries = expiries

    def _add(self, *parts: bytes) -> None:
        table = table_name(self.key.kind, self.key.expires)
        expires = str(self.key.expires).encode()
        self.tally.add(table, self.key.name, self.key.kind.encode(), expires, *parts)

    def whole(self, answer: Any) -> None:
        """Count a key whose whole value is ``answer``."""
        kind = self.key.kind
        if kind == "string":
            self.ordered([answer])
        elif kind == "list":
            self.ordered(answer)
        elif kind == "set":
            self.loose((one,) for one in answer)
        elif kind in ("hash", "zset"):
            self.loose(zip(answer[::2], answer[1::2], strict=True))
        elif kind == "stream":
            self.stream(answer)
        else:
            # A module's value: its serialization, less the format's version and checksum.
            self._add(answer[:-10])

    def ordered(self, parts: Any) -> None:
        """Count a value whose parts have an order. Pieces of one string count as one."""
        state, number = blake2b(digest_size=16), 0
        for part in parts:
            if self.key.kind == "list":
                state.update(len(part).to_bytes(8, "big"))
            state.update(part)
            number += 1
        self._add(state.digest(), str(number if self.key.kind == "list" else 0).encode())

    def loose(self, elements: Iterable[tuple[bytes, ...]]) -> None:
        """Count a value whose elements have no order of their own.

        How many elements last decides how they are counted, and nothing that a server could see
        differently: few are put in order and hashed at once, many are added up as they come.
        """
        lasting = self._lasting(elements)
        limit = 0 if self.tally.algorithm == FORMER else _SORTED
        first = list(islice(lasting, limit + 1))
        if len(first) <= limit:
            if first:
                self._add(_in_order(first), str(len(first)).encode())
            return
        total, number = 0, 0
        for parts in chain(first, lasting):
            total += digest(*parts)
            number += 1
        self._add((total % _MODULUS).to_bytes(16, "big"), str(number).encode())

    def _lasting(self, elements: Iterable[tuple[bytes, ...]]) -> Iterator[tuple[bytes, ...]]:
        """Yield the elements that do not expire by themselves; those that do are counted."""
        if self.key.kind == "zset":
            # Servers of different versions print the same number differently.
            return ((name, struct.pack(">d", float(score))) for name, score in elements)
        if self.key.kind != "hash" or not knows_field_expiry(self.connection):
            return iter(elements)
        return self._without_expiring(elements)

    def _without_expiring(
        self, elements: Iterable[tuple[bytes, ...]]
    ) -> Iterator[tuple[bytes, ...]]:
        rest = iter(elements)
        while group := list(islice(rest, _PIECE)):
            for element, expires in zip(group, self._expiries(group), strict=True):
                if expires < 0:
                    yield element
                else:
                    self._field(element, expires)

    def _expiries(self, group: Sequence[tuple[bytes, ...]]) -> list[int]:
        """Return when each field of a hash expires; -1 is never."""
        if self.expiries is not None:
            known, self.expiries = self.expiries[: len(group)], self.expiries[len(group) :]
            return known
        names = [element[0] for element in group]
        return [int(one) for one in self.connection.ask(*_expiry_of(self.key.name, names))]

    def _field(self, parts: tuple[bytes, ...], expires: int) -> None:
        key = self.key
        first = expires if key.expires < 0 else min(expires, key.expires)
        moments = f"{expires} {key.expires}".encode()
        self.tally.add(table_name("hash field", first), key.name, moments, *parts)

    def stream(self, entries: Any) -> None:
        """Count a stream: its entries, what it remembers of those removed, and its groups."""
        state, number = blake2b(digest_size=16), 0
        for name, values in entries:
            state.update(digest(name, *(values or ())).to_bytes(16, "big"))
            number += 1
        about = by_name(self.connection.ask("XINFO", "STREAM", self.key.name))
        known = [about.get(name, b"") for name in ("last-generated-id", "entries-added")]
        known += [about.get("max-deleted-entry-id", b"")]
        parts = [text(one).encode() for one in known] + _stream_groups(self.connection, self.key)
        self._add(state.digest(), str(number).encode(), *parts)


def _in_order(elements: Iterable[tuple[bytes, ...]]) -> bytes:
    """Return the digest of all elements in order: the length of every part, then the parts.

    It is what most of a fingerprint's time goes into, so all of a value is hashed in one call.
    """
    parts = list(chain.from_iterable(sorted(elements)))
    lengths = struct.pack(f">{len(parts)}Q", *map(len, parts))
    return blake2b(lengths + b"".join(parts), digest_size=16).digest()


def _stream_groups(connection: Connection, key: _Key) -> list[bytes]:
    parts = []
    for flat in connection.ask("XINFO", "GROUPS", key.name):
        group = by_name(flat)
        name = group["name"]
        consumers = [
            by_name(one)["name"] for one in connection.ask("XINFO", "CONSUMERS", key.name, name)
        ]
        parts += [name, text(group["last-delivered-id"]).encode(), *sorted(consumers)]
        parts += _pending(connection, key.name, name)
    return parts


def _pending(connection: Connection, key: bytes, group: bytes) -> Iterator[bytes]:
    start = b"-"
    while True:
        rows = connection.ask("XPENDING", key, group, start, "+", _PIECE)
        for entry, consumer, _, deliveries in rows:
            yield digest(entry, consumer, str(deliveries).encode()).to_bytes(16, "big")
        if len(rows) < _PIECE:
            return
        start = b"(" + rows[-1][0]


def knows_field_expiry(connection: Connection) -> bool:
    """Tell whether the server lets fields of hashes expire (Redis 7.4, Valkey 9)."""
    known = connection.notes.get("field expiry")
    if known is None:
        known = bool(connection.ask("COMMAND", "INFO", "HPEXPIRETIME")[0])
        connection.notes["field expiry"] = known
    return known


def _functions(connection: Connection) -> list[DatabaseFingerprint]:
    """Return the libraries of functions, which are data like any other; none is no database."""
    tally = Tally()
    for flat in connection.ask("FUNCTION", "LIST", "WITHCODE"):
        library = by_name(flat)
        tally.add("library", library["library_name"], library["engine"], library["library_code"])
    return [DatabaseFingerprint(database=FUNCTIONS, tables=tally.tables())] if tally.rows else []
