"""The frame of a migration conducts the fake engine: each answer fails in turn."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from dbops import runner
from dbops.contract import MigrateStep
from dbops.errors import CommandFailed, ConfigError, Refused, VerificationFailed
from dbops.migrate import note
from dbops.migrate.steps import Moving, plan, standing
from dbops.options import EngineOptions
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_answers, fake_engine
from tests.contract.fake_answers import Side

WORDS = "The fake says no."
STEPS: tuple[MigrateStep, ...] = get_args(MigrateStep)
ASKED: list[tuple[MigrateStep, str]] = [
    ("prepare", "prepare"),
    ("start", "start"),
    ("prove", "follows"),
    ("prove", "compare"),
    ("switch", "follows"),
    ("switch", "require_close"),
    ("switch", "move"),
    ("follow", "follow"),
    ("finish", "finish"),
    *((step, "here") for step in STEPS),
]


@pytest.fixture
def target(write_target: WriteTarget) -> Target:
    return write_target(part="member")


def carry_out(target: Target, step: MigrateStep, moving: Moving[Side]) -> list[str]:
    """Carry a step out; return the titles of what was done and what was told."""
    opts = EngineOptions(
        port=1,
        migrate_port=1,
        os_user="fake",
        repo_path=target.state_dir,
        migrate_proof_seconds=3600,
    )
    steps, told = plan(target, opts, step, moving), list[str]()
    runner.run(steps, on_line=told.append)
    return [action.title for action in steps] + told


def noted(target: Target) -> dict[str, Any]:
    return note.read(target)


def spoiled(moving: Moving[Side], name: str, error: Exception) -> Moving[Side]:
    def fail(*_: object) -> Any:
        raise error

    answer: Any = {name: fail}
    return replace(moving, **answer)


def test_there_and_no_step_more(target: Target) -> None:
    side = Side()
    moving = fake_answers.moving(target, side)
    carry_out(target, "prepare", moving)
    carry_out(target, "start", moving)
    assert noted(target) == {}
    said = carry_out(target, "prove", moving)
    assert "app: 1 tables with 7 rows are equal on both sides" in said
    assert noted(target)["proofs"] == [
        {"database": "app", "tables": 1, "rows": 7, "held_seconds": 0.5}
    ]
    said = carry_out(target, "switch", moving)
    assert "writers waited for 1.2 s" in said
    assert noted(target)["pause_seconds"] == 1.25
    assert not {"switching", "proven_at"} & noted(target).keys()
    assert side.done == ["prepare", "start", "move"]
    found = standing(target, moving)
    assert found.databases[0].open
    assert found.switched_at is not None
    carry_out(target, "follow", moving)
    carry_out(target, "finish", moving)
    assert side.done[3:] == ["follow", "finish"]


@pytest.mark.parametrize(("step", "name"), ASKED)
def test_an_answer_that_fails_ends_the_step(target: Target, step: MigrateStep, name: str) -> None:
    note.note_proof(target)
    side = Side()
    moving = spoiled(fake_answers.moving(target, side), name, CommandFailed(WORDS))
    with pytest.raises(CommandFailed, match=WORDS):
        carry_out(target, step, moving)
    assert side.done == []
    assert "switched_at" not in noted(target)
    if name == "compare":
        assert "proven_at" not in noted(target), "the proof before counts no more"
    with pytest.raises(CommandFailed, match=WORDS):
        standing(target, spoiled(moving, "databases", CommandFailed(WORDS)))


def test_each_answer_is_made_to_fail() -> None:
    """``is_open`` and ``end_move`` are asked after a switch that was killed, below."""
    tried = {name for _, name in ASKED} | {"databases", "is_open", "end_move"}
    assert {field.name for field in fields(Moving)} == tried
    assert {step for step, _ in ASKED} == set(STEPS)


@pytest.mark.parametrize("step", ["prove", "switch"])
def test_a_side_that_follows_nobody_is_told_what_to_do(target: Target, step: MigrateStep) -> None:
    note.note_proof(target)
    side = Side(follows=False)
    with pytest.raises(Refused, match="follows no other one: run 'dbops migrate start'"):
        carry_out(target, step, fake_answers.moving(target, side))
    assert side.done == []


def test_a_switch_needs_a_proof_that_is_young(target: Target) -> None:
    side = Side()
    moving = fake_answers.moving(target, side)
    with pytest.raises(Refused, match="not proven equal"):
        carry_out(target, "switch", moving)
    note.note(target, proven_at=(datetime.now(UTC) - timedelta(hours=2)).isoformat())
    with pytest.raises(Refused, match="not proven equal"):
        carry_out(target, "switch", moving)
    assert side.done == []


def test_a_difference_is_no_proof_and_forbids_the_switch(target: Target) -> None:
    moving = fake_answers.moving(target, Side())
    (one,) = moving.compare(lambda text: None)
    other = target.model_copy(update={"options": {"rows": 6}})
    (found,) = fake_engine.fingerprint(other, lambda text: None)
    differs = replace(moving, compare=lambda tell: [one._replace(found=found)])
    note.note_proof(target)
    with pytest.raises(VerificationFailed) as failed:
        carry_out(target, "prove", differs)
    assert str(failed.value) == (
        "The two sides differ in 1 tables, the first is public.t of database 'app' "
        "(rows: 7 there, 6 here): do not switch."
    )
    with pytest.raises(Refused, match="not proven equal"):
        carry_out(target, "switch", moving)


def test_nothing_compared_is_no_proof(target: Target) -> None:
    moving = replace(fake_answers.moving(target, Side()), compare=lambda tell: [])
    with pytest.raises(VerificationFailed, match="Nothing was compared"):
        carry_out(target, "prove", moving)
    assert "proven_at" not in noted(target)


def killed(target: Target) -> None:
    """Leave behind what a switch leaves that is killed."""
    note.note(target, switching=datetime.now(UTC).isoformat())


def test_a_switch_that_was_killed_after_this_side_was_opened_is_ended(target: Target) -> None:
    note.note_proof(target)
    killed(target)
    for side in (Side(follows=True, open=True), Side(follows=False, open=True)):
        killed(target)
        said = carry_out(target, "switch", fake_answers.moving(target, side))
        assert said == ["end the switch that was interrupted: this cluster is open already"]
        assert side.done == ["end_move"]
        assert not {"switching", "proven_at"} & noted(target).keys()
        assert "switched_at" in noted(target)


def test_a_switch_notes_first_that_it_begins(target: Target) -> None:
    note.note_proof(target)

    def killed_meanwhile(tell: object) -> float:
        assert "switching" in noted(target)
        raise KeyboardInterrupt

    moving = replace(fake_answers.moving(target, Side()), move=killed_meanwhile)
    with pytest.raises(KeyboardInterrupt):
        carry_out(target, "switch", moving)
    assert "switching" in noted(target)


@pytest.mark.parametrize("name", ["is_open", "end_move"])
def test_a_switch_that_cannot_be_ended_is_tried_again(target: Target, name: str) -> None:
    killed(target)
    side = Side(open=True)
    moving = fake_answers.moving(target, side)
    with pytest.raises(CommandFailed, match=WORDS):
        carry_out(target, "switch", spoiled(moving, name, CommandFailed(WORDS)))
    assert "switching" in noted(target)
    carry_out(target, "switch", moving)
    assert side.done == ["end_move"]


def test_a_switch_that_was_killed_before_is_begun_again(target: Target) -> None:
    note.note_proof(target)
    killed(target)
    side = Side()
    carry_out(target, "switch", fake_answers.moving(target, side))
    assert side.done == ["move"]


def test_a_side_that_somebody_opened_by_hand_is_no_switch(target: Target) -> None:
    """What was written here meanwhile is found by the proof, and not passed over."""
    side = Side(open=True)
    with pytest.raises(Refused, match="not proven equal"):
        carry_out(target, "switch", fake_answers.moving(target, side))


def test_what_was_proven_does_not_outlive_the_migration(target: Target) -> None:
    note.note_proof(target)
    killed(target)
    carry_out(target, "finish", fake_answers.moving(target, Side()))
    assert noted(target) == {}


@pytest.mark.parametrize("step", STEPS)
def test_a_dry_run_changes_nothing(target: Target, step: MigrateStep) -> None:
    note.note_proof(target)
    before, side = json.dumps(noted(target)), Side()
    opts = EngineOptions(port=1, migrate_port=1, os_user="fake", repo_path=target.state_dir)
    assert plan(target, opts, step, fake_answers.moving(target, side))
    assert (json.dumps(noted(target)), side.done) == (before, [])


@pytest.mark.parametrize("part", ["repository", "drill"])
def test_only_a_member_migrates(write_target: WriteTarget, part: str) -> None:
    target = write_target(part=part)
    moving = fake_answers.moving(target, Side())
    for step in STEPS:
        with pytest.raises(ConfigError, match="run this on its member host"):
            carry_out(target, step, moving)
    with pytest.raises(ConfigError, match="member"):
        standing(target, moving)
