"""Which server works in a data directory: it stands in it, whatever started it."""

from __future__ import annotations

import os
from pathlib import Path

from dbops.errors import Refused


def working_in(folder: Path, programs: tuple[str, ...], own: bool = False) -> list[int]:
    """Return the servers whose working directory is ``folder``.

    A process counts when its name begins with one of ``programs``: a shell that stands there holds
    nothing up. Raises Refused when this account may not see where processes work, unless only its
    ``own`` are asked for.
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
            name = (entry / "comm").read_text(encoding="utf-8", errors="replace")
        except PermissionError:
            if own or os.geteuid() == 0:
                continue
            raise Refused("Running servers cannot be seen: run dbops as root.") from None
        except OSError:
            continue
        if os.path.samestat(place, there) and name.startswith(programs):
            found.append(int(entry.name))
    return found
