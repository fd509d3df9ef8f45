"""Which binary log files a restore needs, out of the archives of all members.

Any member's file will do where it goes on from the position reached; a file of a branch that was
left behind by a failover never does. Where two members wrote after a failover, only the end tells
which branch to follow, and where to leave a file that goes on into the other: so the way is found
from its end. What is *not* here: the reading of a file (:mod:`.binlog`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dbops.engines.mysql import binlog
from dbops.engines.mysql.binlog import Summary
from dbops.engines.mysql.gtid import Gtid, Position
from dbops.errors import VerificationFailed

NAME = re.compile(r"(?P<base>.+)\.(?P<number>\d{6,})")


@dataclass(frozen=True)
class File:
    """One archived file of one member."""

    member: str
    summary: Summary

    @property
    def words(self) -> str:
        """The member and the file's name."""
        return f"{self.member}/{self.summary.path.name}"


@dataclass(frozen=True)
class Segment:
    """Files of one member that follow each other, to be replayed in one stream after ``start``.

    ``until`` is where the last of them is left, None for its end.
    """

    member: str
    start: Position
    files: tuple[File, ...]
    until: Position | None = None

    @property
    def end(self) -> Position:
        """The position after it."""
        return self.start.joined(self.until or self.files[-1].summary.after)


@dataclass(frozen=True)
class Chain:
    """All that is to be replayed. ``end`` is where it leads.

    ``left_out`` are files of another branch: what a failover left behind, or a restore began.
    """

    segments: tuple[Segment, ...]
    end: Position
    left_out: tuple[File, ...] = ()

    @property
    def newest(self) -> bool:
        """Whether it leads to the newest that there is, and not to a branch given up since."""
        last = max((f.summary.last_at for s in self.segments for f in s.files), default=None)
        others = max((f.summary.last_at for f in self.left_out), default=None)
        return others is None or (last is not None and others <= last)

    @property
    def files(self) -> int:
        """How many files there are in it."""
        return sum(len(segment.files) for segment in self.segments)


def after_all_of(summary: Summary, known: Position) -> Summary:
    """Return a file's summary given that ``known`` had happened before it."""
    before, after = summary.before.joined(known), summary.after.joined(known)
    return replace(summary, before=before, after=after) if known.last else summary


def completed(own: Sequence[File], archived: Sequence[File]) -> list[File]:
    """Return a host's own files, in order, knowing of what came before them what the archive knows.

    MySQL's files do not tell what a server was told to be purged. Where the archive knows none of
    them, they are left as they are.
    """
    known = {(f.member, f.summary.path.name, f.summary.begun_at): f.summary for f in archived}
    found: list[File] = []
    for file in sorted(own, key=lambda one: one.summary.path.name):
        twin = known.get((file.member, file.summary.path.name, file.summary.begun_at))
        if not found and (twin is None or not twin.before.by_server):
            continue
        before = twin.before if twin is not None else found[-1].summary.after
        found.append(File(file.member, after_all_of(file.summary, before)))
    return found or list(own)


def longest(files: Sequence[File]) -> list[File]:
    """Return each file once: of two copies, of which one was cut off, the longer."""
    best: dict[tuple[str, str, datetime], File] = {}
    for file in files:
        # Two restores of one backup begin files of one name at one GTID, but not in one second.
        key = (file.member, file.summary.path.name, file.summary.begun_at)
        there = best.get(key)
        if there is None or reach(there) <= reach(file):
            best[key] = file
    return list(best.values())


def reach(file: File) -> tuple[int, int]:
    """Return how far a file goes, to tell which of two goes further."""
    return sum(file.summary.after.numbers().values()), file.summary.size


def _branch(file: File) -> tuple[float, int, int]:
    """Order files that go on from one position: first the branch that was written to last.

    MariaDB's numbers say it by themselves, for a restore leaves a gap in them.
    """
    last = file.summary.last_at.timestamp() if file.summary.after.by_server else 0.0
    return last, *reach(file)


def follow(files: Sequence[File], start: Position, until: Position | None = None) -> Chain:
    """Return what leads from ``start`` to ``until``, or as far as it goes for None.

    Raises VerificationFailed naming the first file that is missing: for None also when only later
    files are there, because the newest would then silently be an old one.
    """
    found = _from_end(files, start, until)
    return found if found is not None else _from_start(files, start, until)


def _from_end(files: Sequence[File], start: Position, until: Position | None) -> Chain | None:
    """Return the way to ``until``, to the newest transaction for None; None when there is none.

    Where each server has a history of its own, the way is found from the start instead.
    """
    newest = max(files, key=lambda file: (file.summary.last_at, reach(file)), default=None)
    end = until if until is not None else newest.summary.after if newest is not None else start
    if start.holds(end) or end.by_server:
        return None
    segments = _back(files, start, end)
    if segments is None:
        return None
    used = {file for segment in segments for file in segment.files}
    others = [f for f in files if f not in used and not start.holds(f.summary.after)]
    left_out = [f for f in others if not end.holds(f.summary.after) or not _agrees(f, used)]
    return Chain(segments, start.joined(end), tuple(left_out))


def _back(files: Sequence[File], start: Position, end: Position) -> tuple[Segment, ...] | None:
    """Return the segments from ``start`` to ``end``, looked for backwards from there."""
    ways: list[tuple[Position, tuple[Segment, ...]]] = [(end, ())]
    seen: set[str] = set()
    while ways:
        point, later = ways.pop()
        found: tuple[Segment, ...] | None = None
        for file in sorted(files, key=lambda one: _preferred(one, later)):
            if not _carries(file, point) or str(file.summary.before) in seen:
                continue
            segments = _before(file, point, later)
            if start.holds(file.summary.before):
                found = segments if _same_branch(file, start) else found
                continue
            seen.add(str(file.summary.before))
            ways.append((file.summary.before, segments))
        if found is not None:
            return found
    return None


def _preferred(file: File, later: tuple[Segment, ...]) -> tuple[bool, datetime]:
    """Order candidates, best last: the member that is read anyway, then what was written last."""
    return bool(later) and file.member == later[0].member, file.summary.last_at


def _carries(file: File, point: Position) -> bool:
    """Tell whether the last transaction of ``point`` is in the file, and the others before it."""
    here = False
    for name, one in point.last.items():
        before = file.summary.before.last.get(name)
        if before is not None and before.number >= one.number:
            if before.number == one.number and before.server != one.server:
                return False
        elif file.summary.writer(name, one.number) == one.server:
            here = True
        else:
            return False
    return here


def _before(file: File, until: Position, later: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return ``later`` with ``file``, read up to ``until``, before it."""
    start = file.summary.before
    if later and later[0].member == file.member and until == file.summary.after:
        first = later[0]
        return (Segment(file.member, start, (file, *first.files), first.until), *later[1:])
    return (Segment(file.member, start, (file,), until), *later)


def _agrees(file: File, used: set[File]) -> bool:
    """Tell whether those in ``used`` that know the file's last transactions have the same ones."""
    return all(
        one.summary.writer(name, last.number) in (None, last.server)
        for one in used
        for name, last in file.summary.after.last.items()
    )


def _from_start(files: Sequence[File], start: Position, until: Position | None) -> Chain:
    segments: list[Segment] = []
    position = start
    while until is None or not position.holds(until):
        found = _furthest(files, position)
        if found is None:
            break
        segments.append(found)
        position = found.end
    if until is not None and position.holds(until):
        return Chain(tuple(_cut(segments, until)), position)
    beyond = [f for f in files if not position.holds(f.summary.after)]
    unreached = [f for f in beyond if not position.holds(f.summary.before)]
    forked = [f for f in beyond if position.holds(f.summary.before)]
    if until is not None or (unreached and not _only_forks(unreached, forked)):
        raise VerificationFailed(_missing(segments, unreached, position, until))
    return Chain(tuple(segments), position, tuple(forked))


def _furthest(files: Sequence[File], position: Position) -> Segment | None:
    found = [
        segment
        for member in sorted({file.member for file in files})
        if (segment := _of_member([f for f in files if f.member == member], position))
    ]
    return max(found, key=lambda one: (one.files[-1].summary.last_at, len(one.files)), default=None)


def _of_member(files: Sequence[File], start: Position) -> Segment | None:
    chosen: list[File] = []
    position = start
    while True:
        fitting = [
            file
            for file in files
            if position.holds(file.summary.before)
            and not position.holds(file.summary.after)
            and _same_branch(file, position)
        ]
        if not fitting:
            break
        chosen.append(max(fitting, key=_branch))
        position = position.joined(chosen[-1].summary.after)
    return Segment(files[0].member, start, tuple(chosen)) if chosen else None


def _same_branch(file: File, position: Position) -> bool:
    """Tell whether the file has, or comes after, the very transactions that ``position`` ends with.

    Two servers that both wrote after a failover used the same numbers for different transactions.
    Where each server has a history of its own, a file that goes on has all of them in the end.
    """
    if position.by_server:
        return file.summary.after.holds(position)
    for name, one in position.last.items():
        before = file.summary.before.last.get(name)
        if before is not None and before.number == one.number:
            writer: int | None = before.server
        else:
            writer = file.summary.writer(name, one.number)
        if writer is not None and writer != one.server:
            return False
        if writer is None and _spans(file, name, one.number):
            return False
    return True


def _spans(file: File, name: str, number: int) -> bool:
    """Tell whether a file begins before a transaction and ends after it, and does not have it."""
    first, last = (one.numbers().get(name, 0) for one in (file.summary.before, file.summary.after))
    return first < number < last


def before_time(files: Sequence[File], moment: datetime) -> list[File]:
    """Return the files begun before ``moment``: what a later restore began is another history."""
    return [file for file in files if file.summary.begun_at < moment]


def whole(files: Sequence[File], point: Position) -> Position:
    """Return ``point`` with all that came before it, as the files tell.

    Where each server has a history of its own, a point may name only the last of several.
    """
    for file in files:
        if not point.by_server or not file.summary.after.holds(point):
            continue
        position = file.summary.before
        for run in file.summary.runs:
            if position.holds(point):
                break
            here = max(run.first, point.numbers().get(run.history, 0))
            done = position.after(Gtid(run.history, run.server, min(run.last, here)))
            if not done.holds(point):
                done = position.after(Gtid(run.history, run.server, run.last))
            position = done
        return position.joined(point)
    return point


def toward(files: Sequence[File], point: Position) -> list[File]:
    """Return the files that hold ``point`` or end before it, on whatever branch it lies."""
    if point.by_server:
        ends = [(file, file.summary.after) for file in files]
        return [file for file, end in ends if point.holds(end) or end.holds(point)]
    return [file for file in files if point.holds(file.summary.after) or _has(file, point)]


def _has(file: File, point: Position) -> bool:
    return any(
        file.summary.writer(name, one.number) == one.server for name, one in point.last.items()
    )


def _cut(segments: Sequence[Segment], until: Position) -> list[Segment]:
    """Leave out the files that begin only after ``until``."""
    kept = []
    position = segments[0].start if segments else Position()
    for segment in segments:
        files = []
        for file in segment.files:
            if not position.holds(until):
                files.append(file)
            position = position.joined(file.summary.after)
        if files:
            kept.append(Segment(segment.member, segment.start, tuple(files)))
    return kept


def _only_forks(unreached: Sequence[File], forked: Sequence[File]) -> bool:
    """Tell whether what cannot be reached only goes on from a branch that was left behind."""
    ends = Position()
    for file in forked:
        ends = ends.joined(file.summary.after)
    members = {file.member for file in forked}
    return all(f.member in members and ends.holds(f.summary.before) for f in unreached)


def _missing(
    segments: Sequence[Segment],
    unreached: Sequence[File],
    position: Position,
    until: Position | None,
) -> str:
    wanted = f"before {until}" if until is not None else "before the newest"
    if not unreached:
        return (
            f"The archived binary log ends at {position or 'nothing'}, {wanted}: "
            "ask for an earlier point."
        )
    first = min(unreached, key=lambda file: (file.summary.begun_at, file.words))
    last = segments[-1].files[-1] if segments else None
    name = _between(last, first)
    return (
        f"The binary log is missing from {position or 'its beginning'} to {first.summary.before}"
        f": {name}, so nothing after {position or 'the backup'} can be restored."
    )


def _between(last: File | None, first: File) -> str:
    match = NAME.fullmatch(first.summary.path.name)
    assert match is not None
    width, number = len(match["number"]), int(match["number"])
    name = f"{first.member}/{match['base']}.{number - 1:0{width}d}"
    here = NAME.fullmatch(last.summary.path.name) if last is not None else None
    if here is not None and last is not None and last.member == first.member:
        missing = range(int(here["number"]) + 1, number)
        if len(missing) > 1:
            return f"{first.member}/{match['base']}.{missing[0]:0{width}d} up to {name} are gone"
    return f"{name} is gone"


@dataclass(frozen=True)
class Cut:
    """Where a time falls: the position just before it, and when the last one before it was."""

    position: Position
    last_at: datetime | None


def at_time(chain: Chain, start: Position, moment: datetime) -> Cut:
    """Return the last position all of which was committed before ``moment``.

    The log knows whole seconds: a transaction of the second 7 is before 7.5 and not before 7.0.
    """
    position, last_at = start, None
    for segment in chain.segments:
        for file in segment.files:
            for done in binlog.transactions(file.summary.path):
                beyond = segment.until is not None and not segment.until.holds(done.gtid)
                if beyond or position.holds(done.gtid):
                    continue
                if done.at >= moment:
                    return Cut(position, last_at)
                position, last_at = position.after(done.gtid), done.at
    return Cut(position, last_at)
