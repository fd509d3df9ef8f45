"""Positions in a server's history: MariaDB's GTID lists, and MySQL's GTID sets.

A :class:`Position` knows for each history how far it goes, and which server wrote last. MariaDB's
``0-1-42`` names one history per domain; MySQL's ``uuid:1-42`` one per server, ``uuid:tag:1-42`` one
per server and tag. Both compare alike. What is *not* here: reading a position out of a binary log
(:mod:`.binlog`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dbops.errors import ConfigError

_MARIADB = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TAG = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,31}")
_INTERVAL = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")


@dataclass(frozen=True)
class Gtid:
    """One transaction: the history it belongs to, the server that wrote it, its number there."""

    history: str
    server: int
    number: int

    def __str__(self) -> str:
        if "-" in self.history:
            return f"{self.history}:{self.number}"
        return f"{self.history}-{self.server}-{self.number}"


@dataclass(frozen=True)
class Position:
    """What has happened: for each history its last transaction. Immutable and hashable by text."""

    last: Mapping[str, Gtid] = field(default_factory=dict)

    def __str__(self) -> str:
        return ",".join(_format(one) for _, one in sorted(self.last.items(), key=_order))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self.numbers() == other.numbers()

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.numbers().items())))

    @property
    def by_server(self) -> bool:
        """Whether each server has a history of its own, so that one position names several."""
        return any("-" in name for name in self.last)

    def numbers(self) -> dict[str, int]:
        """Return the last number of each history that has any transaction."""
        return {name: one.number for name, one in self.last.items() if one.number > 0}

    def holds(self, other: Position | Gtid) -> bool:
        """Tell whether everything in ``other`` has happened here."""
        if isinstance(other, Gtid):
            return self.numbers().get(other.history, 0) >= other.number
        mine = self.numbers()
        return all(mine.get(name, 0) >= number for name, number in other.numbers().items())

    def after(self, event: Gtid) -> Position:
        """Return the position once ``event`` has happened too."""
        return Position({**self.last, event.history: event})

    def joined(self, other: Position) -> Position:
        """Return the position that holds both."""
        mine = dict(self.last)
        for name, one in other.last.items():
            if name not in mine or mine[name].number < one.number:
                mine[name] = one
        return Position(mine)


def of(events: Iterable[Gtid]) -> Position:
    """Return the position of a list of last transactions, keeping the furthest of each history."""
    position = Position()
    for event in events:
        position = position.joined(Position({event.history: event}))
    return position


def parse(text: str) -> Position:
    """Parse a list such as ``0-1-42,1-7-3`` or ``uuid:1-42``; ConfigError for anything else.

    An empty text is the beginning of all histories. A MySQL set must be without holes; one number
    alone, as in ``uuid:42``, means all up to it.
    """
    found: list[Gtid] = []
    for part in text.replace("\n", "").split(","):
        part = part.strip()
        if not part:
            continue
        if match := _MARIADB.fullmatch(part):
            found.append(Gtid(str(int(match[1])), int(match[2]), int(match[3])))
        else:
            found += _of_servers(part)
    names = [one.history for one in found]
    if len(set(names)) != len(names):
        raise ConfigError(f"The GTID list {text[:120]!r} names one history twice.")
    return of(found)


def _of_servers(part: str) -> list[Gtid]:
    """Parse one server's part of a MySQL set: its untagged numbers, then those of each tag."""
    name, *words = part.split(":")
    if not _UUID.fullmatch(name) or not words or not _INTERVAL.fullmatch(words[-1]):
        raise _no_gtid(part)
    history = name = name.lower()
    found: list[Gtid] = []
    for word in words:
        if match := _INTERVAL.fullmatch(word):
            if found and found[-1].history == history:
                raise _hole(part, found[-1].number)
            first, last = int(match[1]), int(match[2] or match[1])
            if match[2] and first != 1:
                raise _hole(part, 0)
            found.append(Gtid(history, 0, last))
        elif _TAG.fullmatch(word):
            history = f"{name}:{word.lower()}"
        else:
            raise _no_gtid(part)
    return found


def _no_gtid(part: str) -> ConfigError:
    return ConfigError(
        f"{part[:80]!r} is no GTID: write it as domain-server-number, such as 0-1-42, for MariaDB, "
        "or as uuid:number for MySQL."
    )


def _hole(part: str, number: int) -> ConfigError:
    return ConfigError(
        f"The GTID set {part[:80]!r} has a hole after {number}: only histories without one can be "
        "backed up and restored, so leave gtid_next to the server."
    )


def _format(one: Gtid) -> str:
    if "-" in one.history:
        return f"{one.history}:1-{one.number}"
    return str(one)


def _order(item: tuple[str, Gtid]) -> tuple[int, str]:
    return len(item[0]), item[0]
