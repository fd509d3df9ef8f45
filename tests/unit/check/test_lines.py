"""Lines of ``dbops check`` that every engine has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dbops.check import lines

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("old", "rpo_seconds", "ok"),
    [(170, 1, True), (190, 1, False), (190, 300, True), (310, 300, False)],
)
def test_log_may_be_as_old_as_promised_and_never_less_than_the_least(
    old: float, rpo_seconds: float, ok: bool
) -> None:
    newest = datetime.now(UTC) - timedelta(seconds=old)
    found = lines.log_age(newest, rpo_seconds, "look")
    assert found.ok == ok
    assert f"at most {max(rpo_seconds, 180)} s promised" in found.detail


def test_log_that_is_not_there_is_not_fresh() -> None:
    assert not lines.log_age(None, 300, "look").ok
