"""Which server works in a data directory: a Redis server stands in it, whatever started it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from dbops.errors import CommandFailed, Refused

_END_SECONDS = 10.0


def working_in(folder: Path, own: bool = False) -> list[int]:
    """Return the servers whose working directory is ``folder``.

    Raises Refused when this account may not see where processes work, unless only its ``own`` are
    asked for.
    """
    try:
        place = os.stat(folder)
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            there = os.stat(entry / "cwd")
            name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except PermissionError:
            if own or os.geteuid() == 0:
                continue
            raise Refused("Running servers cannot be seen: run dbops as root.") from None
        except OSError:
            continue
        if os.path.samestat(place, there) and _is_server(name):
            found.append(int(entry.name))
    return found


def _is_server(name: str) -> bool:
    """A shell that stands in the directory holds nothing up."""
    return name.startswith(("redis", "valkey"))


def end(folder: Path) -> None:
    """End what a killed run left working in ``folder``; nothing there is wanted any more."""
    for process in working_in(folder, own=True):
        os.kill(process, signal.SIGKILL)
    limit = time.monotonic() + _END_SECONDS
    while working_in(folder, own=True):
        if time.monotonic() > limit:
            raise CommandFailed(f"A server in {folder} does not end: look at its process.")
        time.sleep(0.05)
