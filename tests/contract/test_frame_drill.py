"""The frames conduct the fake engine: each answer fails in turn, and none goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest

from dbops.contract import DrillRequest, DrillResult
from dbops.drill import run as frame
from dbops.drill.trial import Newest, Supply, Trial
from dbops.drill.verdict import Findings, step
from dbops.errors import CommandFailed, ConfigError, Unreachable, VerificationFailed
from dbops.manifest import Fingerprint, Manifest, Omission
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_engine

Answers = Trial[Manifest]
Spoil = Callable[[Answers], Answers]
WORDS = "The fake says no."
STEPS = [
    "isolation",
    "catalogue",
    "space",
    "restore",
    "log",
    "recovery to the fingerprint",
    "content",
    "recovery to the newest",
    "heartbeat",
    "pages",
    "clean-up",
]


@pytest.fixture
def target(write_target: WriteTarget) -> Target:
    return write_target(part="drill")


def drill(target: Target, trial: Answers, backup_id: str | None = None) -> DrillResult:
    return frame.run(target, DrillRequest(backup_id), lambda words: None, trial)


def fail(*_: object) -> Any:
    raise VerificationFailed(WORDS)


class _Closed(fake_engine.Open):
    def prove(self) -> str:
        raise VerificationFailed(WORDS)


@contextmanager
def _never_there(*_: object) -> Iterator[str]:
    yield fail()


@contextmanager
def _stays(way: Manifest, expected: Fingerprint, progress: object) -> Iterator[str]:
    yield expected.point
    fail()


def _no_cell(trial: Answers) -> Answers:
    return replace(trial, cell=_Closed("nobody", (), trial.cell.scratch))


def _no_log(trial: Answers) -> Answers:
    return replace(trial, fill=(trial.fill[0], ("log", fail)))


FAILING: list[tuple[str, Spoil]] = [
    ("isolation", _no_cell),
    ("catalogue", lambda trial: replace(trial, known=fail)),
    ("catalogue", lambda trial: replace(trial, choose=fail)),
    ("space", lambda trial: replace(trial, ready=fail)),
    ("restore", lambda trial: replace(trial, fill=(("restore", fail), *trial.fill[1:]))),
    ("log", _no_log),
    ("recovery to the fingerprint", lambda trial: replace(trial, to_point=_never_there)),
    ("content", lambda trial: replace(trial, content=fail)),
    ("content", lambda trial: replace(trial, to_point=_stays)),
    ("recovery to the newest", lambda trial: replace(trial, newest=fail)),
    ("heartbeat", lambda trial: replace(trial, newest=lambda *_: Newest("up to 2", fail))),
    ("pages", lambda trial: replace(trial, proofs=(("pages", fail),))),
]


def test_good_answers_are_a_proof_and_every_step_is_done(target: Target) -> None:
    ended = list[str]()
    trial = replace(fake_engine.trial(target), end=lambda: ended.append("end"))
    result = drill(target, trial)
    assert result.proven, result.reason
    assert [step.name for step in result.steps] == list(frame.steps(trial)) == STEPS
    assert all(step.detail for step in result.steps)
    assert (result.backup_id, result.bytes_restored, result.rpo_seconds) == ("B1", 4096, 2.0)
    assert [(one.table, one.rows_found, one.equal) for one in result.tables] == [
        ("public.t", 7, True)
    ]
    assert ended == ["end"]
    assert not trial.cell.scratch.exists()


def test_what_no_fingerprint_tells_of_is_named_once(target: Target) -> None:
    def omission(name: str) -> Omission:
        return Omission(
            database="app", name=name, kind="unlogged table", reason="it comes back empty"
        )

    plain = fake_engine.trial(target)

    def content(way: Manifest, recorded: Fingerprint, progress: Any) -> tuple[Fingerprint, ...]:
        expected, found = plain.content(way, recorded, progress)
        return (
            expected.model_copy(update={"omitted": (omission("was"), omission("both"))}),
            found.model_copy(update={"omitted": (omission("both"), omission("is"))}),
        )

    result = drill(target, replace(plain, content=content))  # type: ignore[arg-type]
    assert result.proven, result.reason
    assert result.omitted == (omission("both"), omission("is"), omission("was"))
    (words,) = [one.detail for one in result.steps if one.name == "content"]
    assert words == "1 tables with 7 rows are as recorded; not compared: 3 unlogged tables"


@pytest.mark.parametrize(("where", "spoil"), FAILING)
def test_an_answer_that_fails_is_red_and_nothing_later_is_done(
    target: Target, where: str, spoil: Spoil
) -> None:
    trial = spoil(fake_engine.trial(target))
    result = drill(target, trial)
    assert not result.proven
    assert result.reason == WORDS
    done = [(step.name, step.ok) for step in result.steps]
    before = [(name, True) for name in STEPS[: STEPS.index(where)]]
    assert done == [*before, (where, False), ("clean-up", True)]
    assert not trial.cell.scratch.exists()


def test_each_answer_is_made_to_fail() -> None:
    """``algorithms``, ``end`` and ``explain`` have tests of their own below."""
    tried = {"cell", "known", "choose", "ready", "fill", "to_point", "content", "newest", "proofs"}
    assert {field.name for field in fields(Trial)} == tried | {"algorithms", "end", "explain"}
    assert {where for where, _ in FAILING} == set(STEPS[:-1])


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_not_reached_is_no_proof(
    target: Target, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def forgetful(findings: Findings, this: str, *rest: Any) -> Any:
        @contextmanager
        def passing() -> Iterator[Any]:
            with step(findings, this, *rest) as note:
                yield note
            if this == name:
                findings.steps.pop()

        return passing()

    monkeypatch.setattr("dbops.drill.run.step", forgetful)
    result = drill(target, fake_engine.trial(target))
    assert not result.proven
    assert result.reason == f"The step {name!r} was not done."


def test_a_scratch_folder_that_stays_is_red(target: Target) -> None:
    trial = replace(fake_engine.trial(target), end=fail)
    result = drill(target, trial)
    assert (result.proven, result.reason) == (False, WORDS)
    assert [step.name for step in result.steps if not step.ok] == ["clean-up"]


def test_an_engines_own_error_is_told_in_its_words(target: Target) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("x")

    trial = replace(
        fake_engine.trial(target),
        content=broken,
        explain=lambda error: "The server says: x." if isinstance(error, KeyError) else None,
    )
    assert drill(target, trial).reason == "The server says: x."


def test_any_other_error_is_raised_after_the_scratch_folder_is_gone(target: Target) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    trial = replace(fake_engine.trial(target), content=broken)
    with pytest.raises(ZeroDivisionError):
        drill(target, trial)
    assert not trial.cell.scratch.exists()


def test_an_unknown_backup_is_a_slip_of_the_pen(target: Target) -> None:
    trial = fake_engine.trial(target)
    with pytest.raises(ConfigError, match="No backup 'B7'"):
        drill(target, trial, "B7")


def test_a_catalogue_out_of_reach_is_a_failed_drill(target: Target) -> None:
    def away(backup_id: str | None) -> str:
        raise Unreachable("The repository does not answer.")

    result = drill(target, replace(fake_engine.trial(target), known=away), "B1")
    assert (result.proven, result.backup_id) == (False, "B1")
    assert result.reason == "The repository does not answer."


def _supplied(trial: Answers, **changes: Any) -> Answers:
    def choose(backup_id: str) -> Supply[Manifest]:
        return replace(trial.choose(backup_id), **changes)

    return replace(trial, choose=choose)


def _of_algorithm(found: Fingerprint, name: str) -> Fingerprint:
    return found.model_copy(update={"algorithm": name})


def test_a_backup_without_a_fingerprint_is_refused(target: Target) -> None:
    result = drill(target, _supplied(fake_engine.trial(target), fingerprints=()))
    assert "Backup B1 has no content fingerprint" in result.reason
    assert [step.name for step in result.steps] == ["isolation", "catalogue", "clean-up"]


def test_a_fingerprint_of_another_algorithm_is_refused_before_anything_is_restored(
    target: Target,
) -> None:
    trial = fake_engine.trial(target)
    (recorded,) = trial.choose("B1").fingerprints
    result = drill(target, _supplied(trial, fingerprints=(_of_algorithm(recorded, "fake-0"),)))
    assert result.reason == (
        "The fingerprint was made by 'fake-0' and this dbops knows 'fake-1': "
        "install the version that took the backup."
    )
    assert [step.name for step in result.steps] == ["isolation", "catalogue", "clean-up"]
    assert not result.differences


def test_content_that_was_read_by_another_algorithm_is_no_difference(target: Target) -> None:
    trial = fake_engine.trial(target)

    def content(way: Manifest, expected: Fingerprint, progress: Any) -> Any:
        return expected, _of_algorithm(trial.content(way, expected, progress)[1], "fake-0")

    result = drill(target, replace(trial, content=content))
    assert "'fake-0': install the version" in result.reason
    assert not result.differences


def test_too_little_room_is_told_before_anything_is_restored(target: Target) -> None:
    result = drill(target, _supplied(fake_engine.trial(target), room=1 << 60))
    assert result.reason.startswith(f"The scratch disk under {target.state_dir}/scratch is too")
    assert result.reason.endswith("make room or set the option scratch_dir.")
    assert [step.name for step in result.steps if not step.ok] == ["space"]


def test_data_without_a_heartbeat_are_no_proof(target: Target) -> None:
    silent = Newest("up to 2", lambda: None)
    result = drill(target, replace(fake_engine.trial(target), newest=lambda *_: silent))
    assert result.reason.startswith("No heartbeat in the restored data")
    assert result.rto_seconds is not None


def test_content_that_differs_is_red_and_the_newest_is_recovered_all_the_same(
    write_target: WriteTarget,
) -> None:
    target = write_target(part="drill", options={"broken": True})
    result = drill(target, fake_engine.trial(target))
    assert "'public.t' of database 'app' differs in rows: expected 7, found 6" in result.reason
    assert [step.name for step in result.steps] == STEPS
    assert [step.name for step in result.steps if not step.ok] == ["content"]


def test_fingerprints_of_two_points_are_each_compared_at_their_own(target: Target) -> None:
    trial = fake_engine.trial(target)
    (first,) = trial.choose("B1").fingerprints
    both = (first, first.model_copy(update={"point": "3"}))
    result = drill(target, _supplied(trial, fingerprints=both))
    assert result.proven, result.reason
    details = [step.detail for step in result.steps if step.name == "recovery to the fingerprint"]
    assert details == ["exactly at 2", "exactly at 3"]


def test_an_engine_without_a_log_to_stop_in_has_no_such_step(target: Target) -> None:
    trial = replace(fake_engine.trial(target), to_point=None, proofs=())
    result = drill(target, trial)
    assert result.proven, result.reason
    names = [step.name for step in result.steps]
    assert names == [n for n in STEPS if n not in ("recovery to the fingerprint", "pages")]


def test_an_interrupted_drill_leaves_nothing(target: Target) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    trial = replace(fake_engine.trial(target), newest=interrupt)
    with pytest.raises(KeyboardInterrupt):
        drill(target, trial)
    assert not trial.cell.scratch.exists()


def test_a_clean_up_that_breaks_does_not_hide_the_first_reason(target: Target) -> None:
    def stuck() -> None:
        raise CommandFailed("Process 7 does not end.")

    trial = replace(fake_engine.trial(target), content=fail, end=stuck)
    result = drill(target, trial)
    assert result.reason == WORDS
    assert [step.name for step in result.steps if not step.ok] == ["content", "clean-up"]
