"""The drill's verdict: nothing but a whole and sound drill is a proof."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from dbops.contract import DrillStep, DrillTable
from dbops.drill.verdict import Findings, StepError, doubt, recovery_point, step
from dbops.errors import VerificationFailed
from dbops.manifest import Difference
from dbops.targets import Objectives

STEPS = ("isolation", "restore", "content", "heartbeat")
OBJECTIVES = Objectives(rpo_seconds=60, rto_seconds=600)


def whole() -> Findings:
    return Findings(
        backup_id="20260301-010000F",
        bytes_restored=1,
        rpo_seconds=60.0,
        restore_seconds=600.0,
        answered=True,
        steps=[DrillStep(name, True, 1.0) for name in STEPS],
        tables=[DrillTable("air", "public.flights", 3, 3, True)],
    )


def test_a_whole_drill_at_its_objectives_is_a_proof() -> None:
    assert doubt(whole(), STEPS, OBJECTIVES) is None


@pytest.mark.parametrize("name", STEPS)
def test_a_step_left_out_is_no_proof(name: str) -> None:
    findings = whole()
    findings.steps = [step for step in findings.steps if step.name != name]

    assert name in (doubt(findings, STEPS, OBJECTIVES) or "")


@pytest.mark.parametrize("name", STEPS)
def test_a_failed_step_is_no_proof_and_gives_the_reason(name: str) -> None:
    findings = whole()
    findings.steps = [
        DrillStep(step.name, step.name != name, 1, "It broke." if step.name == name else "fine")
        for step in findings.steps
    ]

    assert doubt(findings, STEPS, OBJECTIVES) == "It broke."


def _no_tables(findings: Findings) -> None:
    findings.tables = []


def _unequal(findings: Findings) -> None:
    findings.tables.append(DrillTable("air", "public.x", 1, 1, False))


def _different(findings: Findings) -> None:
    findings.differences = [
        Difference(database="air", table="public.x", what="content", expected="a", found="b")
    ]


def _no_rpo(findings: Findings) -> None:
    findings.rpo_seconds = None


def _late_rpo(findings: Findings) -> None:
    findings.rpo_seconds = 60.1


def _odd_rpo(findings: Findings) -> None:
    findings.rpo_seconds = float("nan")


def _no_answer(findings: Findings) -> None:
    findings.answered = False


def _slow(findings: Findings) -> None:
    findings.restore_seconds = 600.1


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_no_tables, "No table"),
        (_unequal, "differs"),
        (_different, "'public.x' of database 'air' differs in content"),
        (_no_rpo, "recovery point was not measured"),
        (_late_rpo, "recovery point is 60.1 s"),
        (_odd_rpo, "recovery point"),
        (_no_answer, "recovery time was not measured"),
        (_slow, "recovery time is 600.1 s"),
    ],
)
def test_anything_wanting_is_no_proof(spoil: Callable[[Findings], None], word: str) -> None:
    findings = whole()
    spoil(findings)

    assert word in (doubt(findings, STEPS, OBJECTIVES) or "")


def test_a_beat_from_the_future_is_no_recovery_point() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)

    assert recovery_point(now - timedelta(seconds=9), now) == 9
    assert recovery_point(now + timedelta(seconds=1), now) == 0
    with pytest.raises(VerificationFailed, match="set the clocks"):
        recovery_point(now + timedelta(seconds=9), now)


def test_a_step_that_fails_is_recorded_and_ends_the_drill() -> None:
    findings = Findings()
    with pytest.raises(StepError), step(findings, "content", lambda words: None):
        raise VerificationFailed("It differs.")
    assert [(one.name, one.ok, one.detail) for one in findings.steps] == [
        ("content", False, "It differs.")
    ]


def test_an_engines_own_error_is_explained_and_any_other_is_raised() -> None:
    findings = Findings()

    def explain(error: Exception) -> str | None:
        return "the server said no" if isinstance(error, KeyError) else None

    with pytest.raises(StepError), step(findings, "a", lambda words: None, explain=explain):
        raise KeyError
    with pytest.raises(ZeroDivisionError), step(findings, "b", lambda words: None, explain=explain):
        raise ZeroDivisionError
    assert [one.detail for one in findings.steps] == ["the server said no", "interrupted"]


def test_only_steps_that_count_add_to_the_recovery_time() -> None:
    findings = Findings(answered=True)
    with step(findings, "isolation", lambda words: None):
        pass
    assert findings.rto_seconds == 0
    with step(findings, "restore", lambda words: None, counts=True):
        pass
    assert findings.rto_seconds == findings.steps[-1].seconds > 0
