"""The heartbeat's loop outlives its server, lets go of a broken connection and says so once."""

from __future__ import annotations

import logging

import pytest

from dbops.errors import Unreachable
from dbops.monitor import heartbeat


def test_it_goes_on_after_a_failure_and_logs_each_change_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dbops.heartbeat")
    answers: list[str | Exception] = ["primary", "primary", Unreachable("It is down."), "primary"]
    dropped: list[int] = []

    def beat() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    heartbeat.run(beat, lambda: dropped.append(len(answers)), lambda: not answers, 0.001)

    assert [record.message for record in caplog.records] == [
        "primary",
        "waiting: It is down.",
        "primary",
    ]
    assert dropped == [1, 0]


def test_an_error_that_nobody_knows_ends_it_and_drops_the_connection() -> None:
    dropped: list[int] = []

    def beat() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        heartbeat.run(beat, lambda: dropped.append(1), lambda: False, 0.001)
    assert dropped == [1]
