"""A drill of any engine, step by step: the frame conducts, the engine answers.

An engine answers by a :class:`~.trial.Trial`, a record of its own functions. The frame alone
decides the order, what counts as recovery time, what is refused in which words, and that the
scratch folder is removed whatever happens. What is *not* here: the bookkeeping and the verdict
(:mod:`.verdict`).
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Generic

from dbops.contract import DrillRequest, DrillResult, Progress
from dbops.drill import scratch
from dbops.drill.trial import Supply, Trial, W
from dbops.drill.verdict import (
    Findings,
    Note,
    StepError,
    compared,
    conclude,
    content_words,
    recovery_point,
    step,
)
from dbops.errors import ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Fingerprint, compare, omissions
from dbops.targets import Target

_LEAST_LIMIT_SECONDS = 900.0
_POINT, _CONTENT = "recovery to the fingerprint", "content"


def limit_seconds(target: Target) -> float:
    """Return how long a restored server may take for what it is asked to do."""
    return max(_LEAST_LIMIT_SECONDS, 4 * target.objectives.rto_seconds)


def steps(trial: Trial[W]) -> tuple[str, ...]:
    """Return the names of all steps, in order: what must have been done for a proof."""
    return (
        "isolation",
        "catalogue",
        "space",
        *(name for name, _ in trial.fill),
        *((_POINT,) if trial.to_point is not None else ()),
        _CONTENT,
        "recovery to the newest",
        "heartbeat",
        *(name for name, _ in trial.proofs),
        "clean-up",
    )


def run(target: Target, request: DrillRequest, progress: Progress, trial: Trial[W]) -> DrillResult:
    """Restore the backup into the scratch folder, prove it and return the result.

    A drill that fails is returned with ``proven`` false and the reason. ConfigError is raised when
    the backup does not exist: a slip of the pen is no failed drill. The caller holds the cluster's
    drill lock: the scratch folder is emptied without asking.
    """
    _refuse_unknown(trial, request)
    drill, started = _Drill(trial, progress, Findings()), datetime.now(UTC)
    try:
        drill.prove(request)
    except StepError:
        pass
    finally:
        drill.clean()
    return conclude(target, drill.findings, steps(trial), started, datetime.now(UTC))


def _refuse_unknown(trial: Trial[W], request: DrillRequest) -> None:
    if request.backup_id is None:
        return
    try:
        trial.known(request.backup_id)
    except ConfigError:
        raise
    except DbopsError:
        return


@dataclass(frozen=True)
class _Drill(Generic[W]):
    trial: Trial[W]
    progress: Progress
    findings: Findings

    def step(self, name: str, counts: bool = False) -> AbstractContextManager[Note]:
        return step(self.findings, name, self.progress, counts, self.trial.explain)

    def prove(self, request: DrillRequest) -> None:
        trial, findings = self.trial, self.findings
        with self.step("isolation") as note:
            note.detail = trial.cell.prove()
        with self.step("catalogue") as note:
            findings.backup_id = request.backup_id or ""
            findings.backup_id = trial.known(request.backup_id)
            supply = trial.choose(findings.backup_id)
            note.detail = f"backup {findings.backup_id}, {supply.words}"
            self.require_provable(supply)
        with self.step("space") as note:
            trial.ready(supply.way)
            note.detail = self.space(supply.room)
        self.fill(supply)
        for _, group in groupby(supply.fingerprints, key=lambda one: one.point):
            self.compare(supply, list(group))
        self.recover(supply)
        for name, proof in trial.proofs:
            with self.step(name) as note:
                note.detail = proof()

    def require_provable(self, supply: Supply[W]) -> None:
        """Raise VerificationFailed for a backup whose content nothing tells, or nothing known."""
        if not supply.fingerprints:
            raise VerificationFailed(
                f"Backup {self.findings.backup_id} has no content fingerprint, so its content "
                "cannot be proven: take one without switching the fingerprint off."
            )
        for one in supply.fingerprints:
            _require_algorithm(one, self.trial.algorithms)

    def space(self, needed: int) -> str:
        root = self.trial.cell.scratch
        free = shutil.disk_usage(root).free
        words = f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"
        if free < needed:
            raise VerificationFailed(
                f"The scratch disk under {root} is too small ({words}): "
                "make room or set the option scratch_dir."
            )
        return words

    def fill(self, supply: Supply[W]) -> None:
        for name, work in self.trial.fill:
            with self.step(name, counts=True) as note:
                said = work(supply.way, self.progress)
                if isinstance(said, int):
                    self.findings.bytes_restored += said
                note.detail = f"{said:,} bytes" if isinstance(said, int) else said

    def compare(self, supply: Supply[W], fingerprints: list[Fingerprint]) -> None:
        """Recover to the point of these fingerprints and compare the content there."""
        with ExitStack() as stack:
            if self.trial.to_point is not None:
                with self.step(_POINT, counts=True) as note:
                    recovery = self.trial.to_point(supply.way, fingerprints[0], self.progress)
                    note.detail = f"exactly at {stack.enter_context(recovery)}"
            with self.step(_CONTENT) as note:
                for recorded in fingerprints:
                    note.ok = self.same(supply, recorded) and note.ok
                note.detail = content_words(self.findings)
                stack.close()

    def same(self, supply: Supply[W], recorded: Fingerprint) -> bool:
        expected, found = self.trial.content(supply.way, recorded, self.progress)
        _require_algorithm(recorded, (found.algorithm,))
        differences = compare(expected, found)
        self.findings.differences += differences
        self.findings.tables += compared(expected, found, differences)
        self.findings.omitted = omissions(self.findings.omitted, expected.omitted, found.omitted)
        return not differences

    def recover(self, supply: Supply[W]) -> None:
        """Recover everything there is, open the server and read the newest heartbeat."""
        with self.step("recovery to the newest", counts=True) as note:
            reached = self.trial.newest(supply.way, self.progress)
            self.findings.answered = True
            note.detail = f"{reached.words}, and open for writing"
        with self.step("heartbeat") as note:
            beat = reached.beat()
            if beat is None:
                raise VerificationFailed(
                    "No heartbeat in the restored data, so the recovery point is unknown: "
                    "look at the heartbeat service on the primary."
                )
            self.findings.rpo_seconds = recovery_point(beat, supply.known_at)
            note.detail = f"newest beat at {beat.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def clean(self) -> None:
        root = self.trial.cell.scratch
        with suppress(StepError), self.step("clean-up") as note:
            scratch.remove(root, self.trial.end)
            note.detail = f"{root} is gone"


def _require_algorithm(recorded: Fingerprint, known: tuple[str, ...]) -> None:
    if recorded.algorithm not in known:
        raise VerificationFailed(
            f"The fingerprint was made by {recorded.algorithm!r} and this dbops knows "
            f"{known[0]!r}: install the version that took the backup."
        )
