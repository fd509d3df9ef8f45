"""The frame of ``dbops audit`` conducts the fake engine: each answer fails in turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest

from dbops.audit import host_controls
from dbops.audit.rules import Rule, expect
from dbops.audit.run import Auditing, audit
from dbops.contract import Control
from dbops.errors import ConfigError, Refused, Unreachable
from dbops.options import EngineOptions
from dbops.targets import Target
from tests.conftest import WriteTarget
from tests.contract import fake_answers
from tests.contract.fake_answers import Facts

Asked = Auditing[Facts]
HOST = Control("HO-01", "A host's", "pass")


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host_controls, "audit", lambda host, waivers: [HOST])


@pytest.fixture
def member(write_target: WriteTarget) -> Target:
    return write_target(part="member")


def judged(target: Target, asked: Asked, **waivers: str) -> dict[str, Control]:
    opts = EngineOptions(
        port=1,
        migrate_port=1,
        os_user="fake",
        repo_path=target.state_dir,
        audit_waivers={name.replace("_", "-"): reason for name, reason in waivers.items()},
    )
    return {one.control_id: one for one in audit(target, opts, asked)}


def looking(check: Callable[[Facts], Any]) -> Asked:
    """Return the answers with one control that looks so."""
    return replace(fake_answers.auditing(), rules=(Rule("FK-01", "It looks", check),))


def test_a_member_stands_to_its_own_controls_and_the_host_s(member: Target) -> None:
    ended = list[str]()
    found = judged(member, fake_answers.auditing(lambda: ended.append("end")))
    assert list(found) == ["FK-01", "FK-02", "HO-01"]
    assert found["FK-01"].detail == "tls=on, level=2"
    assert {one.status for one in found.values()} == {"pass"}
    assert ended == ["end"]


def test_a_host_without_a_server_has_the_host_s_alone(write_target: WriteTarget) -> None:
    def away() -> Any:
        raise AssertionError

    asked = replace(fake_answers.auditing(), gather=away)
    for part in ("repository", "drill"):
        assert list(judged(write_target(part=part), asked)) == ["HO-01"]


def test_a_setting_that_differs_fails_and_may_be_waived(member: Target) -> None:
    asked = fake_answers.auditing(tls="off", level="")
    found = judged(member, asked)["FK-01"]
    assert found.status == "fail"
    assert found.detail == "tls is 'off' and not 'on'; level is 'unset' and not '1' or '2'"
    found = judged(member, asked, FK_01="a test")["FK-01"]
    assert (found.status, found.reason) == ("waived", "a test")
    assert judged(member, fake_answers.auditing(), FK_01="a test")["FK-01"].status == "pass"


@pytest.mark.parametrize("waiver", [{"FK_09": "a reason"}, {"FK_01": " "}])
def test_a_waiver_of_nothing_or_without_a_reason_is_refused(
    member: Target, waiver: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match="waiver"):
        judged(member, fake_answers.auditing(), **waiver)


def test_it_is_refused_to_who_is_not_root(member: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="as root"):
        judged(member, fake_answers.auditing())


def test_a_server_that_is_down_is_told(member: Target) -> None:
    @contextmanager
    def down() -> Any:
        raise Unreachable("The fake says no.")
        yield

    with pytest.raises(Unreachable, match="The fake says no"):
        judged(member, replace(fake_answers.auditing(), gather=down))


@pytest.mark.parametrize(
    ("error", "words"),
    [(Unreachable("It says no."), "It says no."), (OSError("no file"), "no file"),
     (EOFError("x"), "it is gone")],
)  # fmt: skip
def test_a_control_that_cannot_look_has_failed(
    member: Target, error: Exception, words: str
) -> None:
    def fail(facts: Facts) -> Any:
        raise error

    found = judged(member, looking(fail))["FK-01"]
    assert (found.status, found.detail) == ("fail", f"cannot be checked: {words}")


def test_any_other_error_is_raised_as_it_is(member: Target) -> None:
    def fail(facts: Facts) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judged(member, looking(fail))


def test_each_answer_is_made_to_fail() -> None:
    assert {field.name for field in fields(Auditing)} == {"rules", "gather", "explain"}


def test_a_setting_may_have_one_of_several_values() -> None:
    assert expect({"a": "2"}, {"a": ("1", "2")}).status == "pass"
    assert expect({"a": "3"}, {"a": ("1", "2")}).status == "fail"
    assert expect({}, {"a": ("1", "")}).status == "pass"
    assert expect({}, {"a": "1"}).detail == "a is 'unset' and not '1'"
