"""The heartbeat's loop outlives its server, lets go of a broken connection and says so once."""

from __future__ import annotations

import logging

import pytest

from dbops.errors import Unreachable
from dbops.monitor import heartbeat


class Connection:
    """A connection that notes when it is let go of, and may fail at that."""

    def __init__(self, events: list[str], error: Exception | None = None) -> None:
        self.events, self.error = events, error
        events.append("connected")

    def close(self) -> None:
        self.events.append("closed")
        if self.error is not None:
            raise self.error


def test_it_goes_on_after_a_failure_and_logs_each_change_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dbops.heartbeat")
    answers: list[str | Exception] = ["primary", "primary", Unreachable("It is down."), "primary"]
    events: list[str] = []

    def beat(connection: Connection) -> str:
        answer = answers.pop(0)
        events.append("beat")
        if isinstance(answer, Exception):
            raise answer
        return answer

    heartbeat.run(lambda: Connection(events), beat, lambda: not answers, 0.001)

    assert [record.message for record in caplog.records] == [
        "primary",
        "waiting: It is down.",
        "primary",
    ]
    assert events == [
        *("connected", "beat", "beat", "beat", "closed"),
        *("connected", "beat", "closed"),
    ]


def test_a_server_that_cannot_be_connected_to_is_tried_again() -> None:
    events: list[str] = []
    refusals: list[Exception] = [Unreachable("It is down."), OSError("no route")]

    def connect() -> Connection:
        if refusals:
            raise refusals.pop()
        return Connection(events)

    heartbeat.run(connect, lambda connection: "primary", lambda: bool(events), 0.001)
    assert events == ["connected", "closed"]


def test_an_error_that_nobody_knows_ends_it_and_drops_the_connection() -> None:
    events: list[str] = []

    def beat(connection: Connection) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        heartbeat.run(lambda: Connection(events), beat, lambda: False, 0.001)
    assert events == ["connected", "closed"]


def test_a_broken_connection_may_fail_to_close_and_no_other_way() -> None:
    events: list[str] = []

    def broken() -> Connection:
        return Connection(events, KeyError("gone"))

    def known(error: Exception) -> str | None:
        return "gone" if isinstance(error, KeyError) else None

    heartbeat.run(broken, lambda connection: "primary", lambda: bool(events), 0.001, known)
    assert events == ["connected", "closed"]
    events.clear()
    with pytest.raises(KeyError):
        heartbeat.run(broken, lambda connection: "primary", lambda: bool(events), 0.001)
