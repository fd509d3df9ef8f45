"""Controls: one that cannot be looked at has failed, and a waiver names a control and a reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dbops.audit.rules import Finding, Rule, check_waivers, judge
from dbops.errors import ConfigError, Unreachable


def rules(check: Callable[[str], Finding]) -> tuple[Rule[str]]:
    return (Rule("XX-01", "title", check),)


@pytest.mark.parametrize(
    "error", [Unreachable("gone."), FileNotFoundError(2, "No such file", "/x"), ValueError("x")]
)
def test_a_control_that_cannot_be_looked_at_has_failed(error: Exception) -> None:
    def broken(facts: str) -> Finding:
        raise error

    (control,) = judge(rules(broken), "facts", {})
    assert control.status == "fail"
    assert "cannot be checked" in control.detail


def test_an_engines_own_error_fails_the_control_and_any_other_is_raised() -> None:
    def broken(facts: str) -> Finding:
        raise ZeroDivisionError

    (control,) = judge(rules(broken), "facts", {}, lambda error: "the server said no")
    assert (control.status, control.detail) == ("fail", "cannot be checked: the server said no")
    with pytest.raises(ZeroDivisionError):
        judge(rules(broken), "facts", {})


def test_a_waiver_covers_a_failure_and_not_a_pass() -> None:
    waivers = {"XX-01": "accepted until May"}
    (control,) = judge(rules(lambda facts: Finding("fail", "old")), "facts", waivers)
    assert (control.status, control.reason) == ("waived", "accepted until May")

    (control,) = judge(rules(lambda facts: Finding("pass")), "facts", waivers)
    assert (control.status, control.reason) == ("pass", "")


@pytest.mark.parametrize("waivers", [{"XX-99": "x"}, {"XX-01": " "}])
def test_a_waiver_must_name_a_control_and_a_reason(waivers: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        check_waivers(rules(lambda facts: Finding("pass")), waivers)
