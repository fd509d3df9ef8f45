"""The bookkeeping of a drill: steps, what they found, and the verdict. Knows no engine.

It fails closed: the verdict is *proven* only when every step was done and held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from dbops.contract import DrillResult, DrillStep, DrillTable, Progress
from dbops.errors import DbopsError, VerificationFailed
from dbops.manifest import Difference, Fingerprint, Omission, omission_words
from dbops.targets import Objectives, Target

CLOCK_TOLERANCE_SECONDS = 2.0


@dataclass
class Findings:
    """What a drill has found so far."""

    backup_id: str = ""
    bytes_restored: int = 0
    rpo_seconds: float | None = None
    restore_seconds: float = 0.0
    answered: bool = False
    steps: list[DrillStep] = field(default_factory=list)
    tables: list[DrillTable] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    omitted: list[Omission] = field(default_factory=list)

    @property
    def rto_seconds(self) -> float | None:
        """The measured recovery time, None when the newest data never came to answer."""
        return self.restore_seconds if self.answered else None


@dataclass
class Note:
    """What a step has to say; without ``ok`` it is recorded as failed and the drill goes on."""

    detail: str = ""
    ok: bool = True


class StepError(Exception):
    """A step has failed and is recorded; the steps that build upon it are not done."""


@contextmanager
def step(
    findings: Findings,
    name: str,
    progress: Progress,
    counts: bool = False,
    explain: Callable[[Exception], str | None] = lambda error: None,
) -> Iterator[Note]:
    """Time one step and record it; what a person can act upon ends the drill, not the program.

    ``counts`` adds its time to the recovery time. ``explain`` says in a sentence what the engine's
    own exceptions mean, None for any other, which is recorded as an interruption and raised.
    """
    progress(name)
    note, began = Note(), time.monotonic()
    try:
        yield note
    except BaseException as error:
        words = _sentence(error, explain) if isinstance(error, Exception) else None
        seconds = time.monotonic() - began
        findings.steps.append(DrillStep(name, False, seconds, words or "interrupted"))
        if words is None:
            raise
        raise StepError from None
    seconds = time.monotonic() - began
    findings.restore_seconds += seconds if counts else 0.0
    findings.steps.append(DrillStep(name, note.ok, seconds, note.detail))


def _sentence(error: Exception, explain: Callable[[Exception], str | None]) -> str | None:
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}."
    return str(error) if isinstance(error, DbopsError) else explain(error)


def compared(
    expected: Fingerprint, found: Fingerprint, differences: Sequence[Difference]
) -> list[DrillTable]:
    """Return one line for each table of both fingerprints, equal where no difference names it."""
    differing = {(one.database, one.table) for one in differences}
    left = {(db.database, one.name): one.rows for db in expected.databases for one in db.tables}
    right = {(db.database, one.name): one.rows for db in found.databases for one in db.tables}
    return [
        DrillTable(
            database=key[0],
            table=key[1],
            rows_expected=left.get(key, 0),
            rows_found=right.get(key),
            equal=key not in differing,
        )
        for key in sorted(left.keys() | right.keys())
    ]


def content_words(findings: Findings) -> str:
    """Return what the comparison came to, in a few words."""
    if not findings.differences:
        rows = sum(table.rows_expected for table in findings.tables)
        held = f"{len(findings.tables)} tables with {rows:,} rows are as recorded"
        left = omission_words(findings.omitted)
        return f"{held}; not compared: {left}" if left else held
    first = findings.differences[0]
    more = len(findings.differences) - 1
    return (
        f"Table {first.table!r} of database {first.database!r} differs in {first.what}: "
        f"expected {first.expected}, found {first.found}"
        + (f" (and {more} more differences)." if more else ".")
    )


def recovery_point(beat: datetime, known_at: datetime) -> float:
    """Return how many seconds before ``known_at`` the newest heartbeat was, never below zero.

    Raises VerificationFailed when it is in the future: the clocks are wrong then.
    """
    age = (known_at - beat).total_seconds()
    if age < -CLOCK_TOLERANCE_SECONDS:
        raise VerificationFailed(
            f"The newest heartbeat is {-age:.0f} s ahead of this host's clock, "
            "so the recovery point is unknown: set the clocks."
        )
    return max(0.0, age)


def conclude(
    target: Target,
    findings: Findings,
    steps: Sequence[str],
    started_at: datetime,
    finished_at: datetime,
) -> DrillResult:
    """Return the result that ``findings`` amount to: proven only if nothing at all is wanting.

    ``steps`` are the names of all that must have been done.
    """
    reason = doubt(findings, steps, target.objectives)
    return DrillResult(
        engine=target.engine,
        cluster=target.cluster,
        backup_id=findings.backup_id,
        started_at=started_at,
        finished_at=finished_at,
        proven=reason is None,
        reason=reason or "",
        rpo_seconds=findings.rpo_seconds,
        rto_seconds=findings.rto_seconds,
        rpo_objective_seconds=target.objectives.rpo_seconds,
        rto_objective_seconds=target.objectives.rto_seconds,
        bytes_restored=findings.bytes_restored,
        steps=tuple(findings.steps),
        tables=tuple(findings.tables),
        differences=tuple(findings.differences),
        omitted=tuple(findings.omitted),
    )


def doubt(findings: Findings, steps: Sequence[str], objectives: Objectives) -> str | None:
    """Return the first thing that keeps ``findings`` from being a proof, None when nothing does."""
    for done in findings.steps:
        if not done.ok:
            return done.detail or f"The step {done.name!r} failed."
    names = {done.name for done in findings.steps}
    for name in steps:
        if name not in names:
            return f"The step {name!r} was not done."
    if findings.differences:
        return content_words(findings)
    if not findings.tables:
        return "No table was compared."
    if not all(table.equal for table in findings.tables):
        return "A table differs from what was recorded."
    for label, measured, objective in (
        ("recovery point", findings.rpo_seconds, objectives.rpo_seconds),
        ("recovery time", findings.rto_seconds, objectives.rto_seconds),
    ):
        if measured is None:
            return f"The {label} was not measured."
        if not measured <= objective:
            return f"The {label} is {measured:.1f} s and the objective is {objective:.1f} s."
    return None
