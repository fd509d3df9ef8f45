"""What restores set aside is removed only beside a sound server: the frame asks the fake engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbops import runner
from dbops.errors import CommandFailed, ConfigError, Refused, Unreachable, VerificationFailed
from dbops.restore import plan as frame
from dbops.restore import proof, set_aside
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_member
from tests.contract.test_frame_restore import WORDS, Answers, broken, fail, former, restore


@pytest.fixture
def target(write_target: WriteTarget) -> Target:
    """A member that was restored over former data."""
    made = former(write_target())
    restore(made, fake_member.in_place(made))
    return made


def discarded(target: Target, answers: Answers) -> list[str]:
    """Return what would be removed."""
    return list(runner.describe(frame.discard(target, answers)))


def test_nothing_to_discard_asks_nobody(write_target: WriteTarget) -> None:
    target = write_target()
    assert discarded(target, replace(fake_member.in_place(target), receives=fail)) == []


def test_a_proven_restore_lets_go_of_what_it_replaced(target: Target) -> None:
    answers, fetched = fake_member.in_place(target), target.state_dir / "data.fetched"
    (aside,) = set_aside.found(answers.data.path)
    assert discarded(target, answers) == [f"remove {aside} for good"]
    fetched.mkdir()
    steps = frame.discard(target, answers)
    last = f"remove {fetched}, which a restore had fetched"
    assert list(runner.describe(steps)) == [f"remove {aside} for good", last]
    runner.run(steps)
    assert not aside.exists()
    assert not fetched.exists()


def test_what_was_fetched_for_a_restore_is_removed_by_itself(target: Target) -> None:
    answers, fetched = fake_member.in_place(target), target.state_dir / "data.fetched"
    runner.run(frame.discard(target, answers))
    fetched.mkdir()
    assert discarded(target, answers) == [f"remove {fetched}, which a restore had fetched"]


def kept(target: Target, answers: Answers) -> str:
    """Return why nothing is discarded."""
    with pytest.raises(Refused) as caught:
        frame.discard(target, answers)
    return str(caught.value)


@pytest.mark.parametrize("error", [VerificationFailed, Unreachable, CommandFailed])
@pytest.mark.parametrize("name", ["receives", "sound"])
def test_a_server_that_is_not_sound_keeps_everything(
    target: Target, name: str, error: type[Exception]
) -> None:
    def bad(*_: object) -> Any:
        raise error(f"{WORDS}.")

    answers = fake_member.in_place(target)
    changes: dict[str, Any] = {"receives": bad} if name == "receives" else {"sound": ("x", bad)}
    assert kept(target, replace(answers, **changes)) == (
        f"The server is not up and sound, so nothing is removed: {WORDS}."
    )


def test_an_engines_own_error_keeps_everything(target: Target) -> None:
    answers = replace(fake_member.in_place(target), receives=broken)
    with pytest.raises(KeyError):
        frame.discard(target, answers)
    assert kept(target, replace(answers, explain=lambda error: "no x")).endswith("removed: no x.")


def test_a_slip_of_the_pen_is_told_as_one(target: Target) -> None:
    def missing() -> bool | None:
        raise ConfigError("The option 'socket' is missing.")

    answers = fake_member.in_place(target)
    with pytest.raises(ConfigError):
        frame.discard(target, replace(answers, receives=missing))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"verified_at": null}'])
def test_a_restore_that_was_not_proven_keeps_everything(target: Target, text: str) -> None:
    answers = fake_member.in_place(target)
    (target.state_dir / proof.NOTE).write_text(text)
    assert "not verified to its end" in kept(target, answers)
    (target.state_dir / proof.NOTE).unlink()
    assert "not verified to its end" in kept(target, answers)


def test_a_replica_has_to_receive_and_needs_no_note(target: Target) -> None:
    (target.state_dir / proof.NOTE).unlink()
    answers = replace(fake_member.in_place(target), sound=("x", fail))
    assert discarded(target, replace(answers, receives=lambda: True))
    assert kept(target, replace(answers, receives=lambda: False)).endswith(
        "nothing is removed: it is a replica that receives nothing."
    )
