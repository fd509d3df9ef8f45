"""Arithmetic of the write-ahead log: positions, segment names, timelines, holes. Reads nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

SEGMENT_BYTES = 16 * 1024 * 1024
PAGE_BYTES = 8192
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_STORED = re.compile(r"(?:.*/)?([0-9A-F]{24})-[0-9a-f]{40}(?:\.[a-z0-9]+)?")
_HISTORY = re.compile(r"\s*(\d+)\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})\b.*")

Switch = tuple[int, int]
"""A timeline and the position (bytes) at which it was left."""


def parse_lsn(text: str) -> int:
    """Return a position such as ``16/B374D848`` in bytes; raise ValueError when it is none."""
    match = _LSN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a log position such as 16/B374D848")
    return (int(match[1], 16) << 32) + int(match[2], 16)


def format_lsn(position: int) -> str:
    """Return a position in bytes the way PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def next_record(position: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Return where the record after ``position`` begins: behind the header of a fresh page."""
    if position % segment_bytes == 0:
        return position + 40
    return position + 24 if position % PAGE_BYTES == 0 else position


def segment_name(timeline: int, number: int, segment_bytes: int = SEGMENT_BYTES) -> str:
    """Return the file name of the ``number``-th segment of ``timeline``."""
    per_log = (1 << 32) // segment_bytes
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def split_segment(name: str, segment_bytes: int = SEGMENT_BYTES) -> tuple[int, int]:
    """Return the timeline and number of a segment's file name; raise ValueError when it is none."""
    match = _SEGMENT.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not the name of a WAL segment")
    per_log = (1 << 32) // segment_bytes
    return int(match[1], 16), int(match[2], 16) * per_log + int(match[3], 16)


def stored_segment(path: str) -> str | None:
    """Return the segment that a file of the repository's archive holds, None when it is another."""
    match = _STORED.fullmatch(path)
    return match[1] if match else None


def parse_history(text: str) -> list[Switch]:
    """Return the ancestors in a timeline history file, oldest first."""
    matches = (_HISTORY.fullmatch(line) for line in text.splitlines())
    return [(int(match[1]), parse_lsn(match[2])) for match in matches if match]


def on_path(timeline: int, position: int, latest: int, ancestors: Sequence[Switch]) -> bool:
    """Return whether history up to ``position`` on ``timeline`` is a part of that of ``latest``."""
    if timeline == latest:
        return True
    return any(owner == timeline and position <= left for owner, left in ancestors)


def first_hole(
    present: Collection[str],
    start: str,
    timeline: int,
    ancestors: Sequence[Switch] = (),
    segment_bytes: int = SEGMENT_BYTES,
) -> str | None:
    """Return the first segment missing between ``start`` and the end of ``timeline``.

    ``ancestors`` is what the timeline's history file says. None means that a recovery from
    ``start`` finds every segment up to the newest of ``timeline`` or of its newest ancestor.
    """
    names = set(present)
    path = _Path(timeline, ancestors, segment_bytes)
    _, first = split_segment(start, segment_bytes)
    last = last_number(names, timeline, ancestors, segment_bytes)
    for number in range(first, max(first, last) + 1):
        name = segment_name(path.owner(number), number, segment_bytes)
        if name not in names:
            return name
    return None


def last_number(
    present: Collection[str],
    timeline: int,
    ancestors: Sequence[Switch] = (),
    segment_bytes: int = SEGMENT_BYTES,
) -> int:
    """Return the number of the newest segment on the way to ``timeline``, -1 without any."""
    path = _Path(timeline, ancestors, segment_bytes)
    pairs = [split_segment(name, segment_bytes) for name in present]
    return max((number for owner, number in pairs if path.owner(number) == owner), default=-1)


class _Path:
    """Which timeline's segment a recovery reads at each number: the newest that has it."""

    def __init__(self, timeline: int, ancestors: Sequence[Switch], segment_bytes: int) -> None:
        self._timeline = timeline
        self._switches = [(owner, left // segment_bytes) for owner, left in ancestors]

    def owner(self, number: int) -> int:
        for owner, left in self._switches:
            if number < left:
                return owner
        return self._timeline
