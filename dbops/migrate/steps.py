"""A migration's six steps: the frame asks for the proof and notes the switch, the engine moves.

An engine answers by a :class:`Moving`, a record of its own functions. The frame alone decides what
a proof is, that a switch needs a young one, and what ends a switch that was killed. What is *not*
here: how one side copies, follows and is closed (each engine's ``migrate``), and what is remembered
on the host (:mod:`.note`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

from dbops.contract import MigratedDatabase, MigrateStep, Migration, Progress
from dbops.errors import Refused, VerificationFailed
from dbops.manifest import Difference, Fingerprint, compare
from dbops.migrate import note
from dbops.options import EngineOptions, require_part
from dbops.runner import Action, Plan, watched
from dbops.targets import Target

H = TypeVar("H")


class Compared(NamedTuple):
    """The content of both sides at one moment; writers were held that long to fix it."""

    name: str
    expected: Fingerprint
    found: Fingerprint
    held_seconds: float = 0.0


@dataclass(frozen=True)
class Moving(Generic[H]):
    """What the frame asks an engine; each function raises a DbopsError.

    ``here`` opens this side: Refused on a replica. ``databases`` are how each stands. ``prepare``,
    ``start``, ``follow`` and ``finish`` return the engine's own steps, Refused when they cannot be
    done now. ``follows`` tells whether this side follows the other, ``is_open`` whether it takes
    writes. ``compare`` yields the content of both sides, of each database or of all at once.
    ``require_close`` raises Refused unless a switch would be short. ``move`` closes the other side,
    opens this one and returns for how many seconds nothing could be written; what fails before this
    side is open leaves the other one open. ``end_move`` does what a killed ``move`` left to do once
    this side is open.
    """

    here: Callable[[], AbstractContextManager[H]]
    databases: Callable[[H], Iterable[MigratedDatabase]]
    prepare: Callable[[H], Plan]
    start: Callable[[H], Plan]
    follows: Callable[[H], bool]
    is_open: Callable[[H], bool]
    compare: Callable[[Progress], Iterable[Compared]]
    require_close: Callable[[H], None]
    move: Callable[[Progress], float]
    end_move: Callable[[], None]
    follow: Callable[[H], Plan]
    finish: Callable[[H], Plan]


def plan(target: Target, opts: EngineOptions, step: MigrateStep, moving: Moving[H]) -> Plan:
    """Return what ``step`` of a migration does on this host.

    Raises Refused when it cannot be done now, ConfigError when the other side is not known.
    """
    require_part(target, "member")
    with moving.here() as here:
        if step == "prepare":
            return moving.prepare(here)
        if step == "start":
            return moving.start(here)
        if step == "prove":
            return _prove(target, moving, here)
        if step == "switch":
            return _switch(target, opts, moving, here)
        if step == "follow":
            return moving.follow(here)
        return _finish(target, moving, here)


def standing(target: Target, moving: Moving[H]) -> Migration:
    """Return how the migration of this host's cluster stands."""
    require_part(target, "member")
    with moving.here() as here:
        return note.standing(target, moving.databases(here))


def _require_following(moving: Moving[H], here: H) -> None:
    if not moving.follows(here):
        raise Refused(
            "This cluster follows no other one: run 'dbops migrate start', or 'follow' after a "
            "switch, on this host first."
        )


def _prove(target: Target, moving: Moving[H], here: H) -> Plan:
    _require_following(moving, here)

    def prove(tell: Progress) -> None:
        note.note(target, proven_at=None)
        proofs = [_equal(one, tell) for one in moving.compare(tell)]
        if not proofs:
            raise VerificationFailed("Nothing was compared: no database here follows another one.")
        note.note_proof(target, proofs=proofs)

    return [watched("compare the content with the other cluster", prove)]


def _equal(one: Compared, tell: Progress) -> dict[str, object]:
    """Return what was found equal, to be noted; VerificationFailed names the first difference."""
    differences = compare(one.expected, one.found)
    if differences:
        raise VerificationFailed(_words(differences))
    tables = [table for database in one.found.databases for table in database.tables]
    rows = sum(table.rows for table in tables)
    tell(f"{one.name}: {len(tables)} tables with {rows} rows are equal on both sides")
    held = round(one.held_seconds, 3)
    return {"database": one.name, "tables": len(tables), "rows": rows, "held_seconds": held}


def _words(differences: list[Difference]) -> str:
    first = differences[0]
    return (
        f"The two sides differ in {len(differences)} tables, the first is {first.table} of "
        f"database {first.database!r} ({first.what}: {first.expected} there, {first.found} here): "
        "do not switch."
    )


def _switch(target: Target, opts: EngineOptions, moving: Moving[H], here: H) -> Plan:
    if "switching" in note.read(target) and moving.is_open(here):

        def end() -> None:
            moving.end_move()
            note.note_switch(target)

        return [Action("end the switch that was interrupted: this cluster is open already", end)]
    _require_following(moving, here)
    note.require_proof(target, opts.migrate_proof_seconds)
    moving.require_close(here)

    def switch(tell: Progress) -> None:
        note.note(target, switching=datetime.now(UTC).isoformat())
        pause = moving.move(tell)
        note.note_switch(target, pause)
        tell(f"writers waited for {pause:.1f} s")

    return [watched("move the writers to this cluster", switch)]


def _finish(target: Target, moving: Moving[H], here: H) -> Plan:
    def forget() -> None:
        note.note(target, switching=None, proven_at=None)

    return [*moving.finish(here), Action("forget what was proven", forget)]
