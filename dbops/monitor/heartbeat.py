"""The loop of every heartbeat: beat, rest, and go on whatever the server does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from dbops.errors import DbopsError

LOG = logging.getLogger("dbops.heartbeat")
BACKOFF_LIMIT_SECONDS = 15.0
_GOOD = ("primary", "standby", "replica")

Explain = Callable[[Exception], str | None]
"""Says in words what an engine's own exception means; None for one that is not its own."""


class Closing(Protocol):
    """A connection."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closing)


def run(
    connect: Callable[[], C],
    beat: Callable[[C], str],
    stop: Callable[[], bool],
    interval_seconds: float,
    explain: Explain = lambda error: None,
) -> None:
    """Call ``beat`` every interval until ``stop()``; each change of state is logged once.

    ``beat`` returns the role it found on the connection, which is kept. When it fails with a
    DbopsError, an OSError or what ``explain`` knows, the next one has a new connection, and the
    pause grows up to a limit. Other exceptions are raised.
    """
    state, pause = "", interval_seconds
    held: list[C] = []
    try:
        while not stop():
            began = time.monotonic()
            try:
                if not held:
                    held.append(connect())
                now = beat(held[0])
                pause = interval_seconds
            except Exception as error:
                words = _words(error, explain)
                if words is None:
                    raise
                now = f"waiting: {words}"
                pause = min(BACKOFF_LIMIT_SECONDS, max(interval_seconds, pause * 1.5))
                _drop(held, explain)
            if now != state:
                LOG.log(logging.INFO if now in _GOOD else logging.WARNING, now)
                state = now
            _sleep(pause - (time.monotonic() - began), stop)
    finally:
        _drop(held, explain)


def _drop(held: list[C], explain: Explain) -> None:
    """Let go of the connection; a broken one may fail to close."""
    while held:
        try:
            held.pop().close()
        except Exception as error:
            if _words(error, explain) is None:
                raise


def _words(error: Exception, explain: Explain) -> str | None:
    if isinstance(error, DbopsError | OSError):
        return str(error)
    return explain(error)


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.2, left))
