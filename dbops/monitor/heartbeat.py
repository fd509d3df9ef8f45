"""The loop of every heartbeat: beat, rest, and go on whatever the server does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dbops.errors import DbopsError

LOG = logging.getLogger("dbops.heartbeat")
BACKOFF_LIMIT_SECONDS = 15.0
_GOOD = ("primary", "standby", "replica")

Explain = Callable[[Exception], str | None]
"""Says in words what an engine's own exception means; None for one that is not its own."""


def run(
    beat: Callable[[], str],
    drop: Callable[[], None],
    stop: Callable[[], bool],
    interval_seconds: float,
    explain: Explain = lambda error: None,
) -> None:
    """Call ``beat`` every interval until ``stop()``; each change of state is logged once.

    ``beat`` returns the role it found. When it fails with a DbopsError, an OSError or what
    ``explain`` knows, ``drop`` must let go of the connection, and the pause grows up to a limit.
    Other exceptions are raised.
    """
    state, pause = "", interval_seconds
    try:
        while not stop():
            began = time.monotonic()
            try:
                now = beat()
                pause = interval_seconds
            except Exception as error:
                words = _words(error, explain)
                if words is None:
                    raise
                now = f"waiting: {words}"
                pause = min(BACKOFF_LIMIT_SECONDS, max(interval_seconds, pause * 1.5))
                drop()
            if now != state:
                LOG.log(logging.INFO if now in _GOOD else logging.WARNING, now)
                state = now
            _sleep(pause - (time.monotonic() - began), stop)
    finally:
        drop()


def _words(error: Exception, explain: Explain) -> str | None:
    if isinstance(error, DbopsError | OSError):
        return str(error)
    return explain(error)


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stop() and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.2, left))
