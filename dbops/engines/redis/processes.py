"""Which Redis or Valkey server works in a data directory, and the end of one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dbops.errors import CommandFailed
from dbops.restore import serving

_PROGRAMS = ("redis", "valkey")
_END_SECONDS = 10.0


def working_in(folder: Path, own: bool = False) -> list[int]:
    """Return the servers that work in ``folder``; Refused as :func:`.serving.working_in` says."""
    return serving.working_in(folder, _PROGRAMS, own)


def end(folder: Path) -> None:
    """End what a killed run left working in ``folder``; nothing there is wanted any more."""
    for process in working_in(folder, own=True):
        os.kill(process, signal.SIGKILL)
    limit = time.monotonic() + _END_SECONDS
    while working_in(folder, own=True):
        if time.monotonic() > limit:
            raise CommandFailed(f"A server in {folder} does not end: look at its process.")
        time.sleep(0.05)
