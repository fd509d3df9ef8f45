"""Which archived segments a recovery to the newest data reads, and along which timeline. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dbops.engines.postgresql import wal
from dbops.errors import VerificationFailed

Forks = Sequence[wal.Switch]


def newest_timeline(start: int, histories: Mapping[int, Forks], seen: Collection[int]) -> int:
    """Return the highest timeline that descends from ``start``, or ``start`` itself.

    ``histories`` are the archived history files by timeline; ``seen`` are timelines with segments.
    A timeline without its history file could be the newest, so it is refused.
    """
    orphans = [number for number in seen if number > start and number not in histories]
    if orphans:
        raise VerificationFailed(
            f"WAL gap: timeline {min(orphans)} is archived without its history file "
            f"{min(orphans):08X}.history, so the way to the newest data is unknown."
        )
    heirs = [
        timeline
        for timeline, forks in histories.items()
        if any(ancestor == start for ancestor, _ in forks)
    ]
    return max([start, *heirs])


def path(
    available: Collection[str],
    start: str,
    timeline: int,
    forks: Forks,
    segment_bytes: int = wal.SEGMENT_BYTES,
) -> list[str]:
    """Return the segments to replay, from ``start`` to the newest on ``timeline``, without a gap.

    ``available`` are the archived names, ``forks`` the history of ``timeline``. Raises
    VerificationFailed that names the first missing segment.
    """
    _, first = wal.split_segment(start, segment_bytes)
    begins = _begins(timeline, forks, segment_bytes)
    chosen: dict[int, int] = {}
    for name in available:
        owner, number = wal.split_segment(name, segment_bytes)
        if number >= first and owner in _owners(number, begins):
            chosen[number] = max(owner, chosen.get(number, 0))
    last = max(chosen, default=first)
    for number in range(first, last + 1):
        if number not in chosen:
            owner = _owners(number, begins)[0]
            raise VerificationFailed(
                f"WAL gap: segment {wal.segment_name(owner, number, segment_bytes)} is missing "
                "from the archive, so nothing after it can be recovered."
            )
    return [
        wal.segment_name(chosen[number], number, segment_bytes) for number in range(first, last + 1)
    ]


def _begins(timeline: int, forks: Forks, segment_bytes: int) -> list[tuple[int, int]]:
    """Return each timeline of the line and the number of its first segment, newest first."""
    line, begin = [], 0
    for ancestor, left_at in forks:
        line.append((ancestor, begin))
        begin = left_at // segment_bytes
    return [(timeline, begin), *line[::-1]]


def _owners(number: int, begins: list[tuple[int, int]]) -> list[int]:
    """Return the timelines that may provide segment ``number``, the preferred first.

    In the segment where a timeline was left, the old one's copy serves as well up to the fork.
    """
    owners = []
    for timeline, begin in begins:
        if begin <= number:
            owners.append(timeline)
            if begin < number:
                break
    return owners
