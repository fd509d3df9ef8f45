"""What runs on a member when the repository host asks for a backup: check, then become the tool.

It is the forced command of the stream account's key, so its only input is a line that a stranger
may have chosen: ``full``, ``incremental LSN`` or ``info``, and nothing else. The tool's log goes to
standard error, its stream to standard output. What is *not* here: who calls (:mod:`.backup`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

CONFIG = Path("/etc/mysql/dbops.cnf")
_TOOLS = (Path("/usr/bin/mariadb-backup"), Path("/usr/bin/mariabackup"))
_REFUSED = 64
_ABSENT = 69
_INCREMENTAL = re.compile(r"incremental ([1-9]\d{0,19})")


def arguments(asked: str, config: Path, account: str) -> tuple[str, ...] | None:
    """Return the tool's arguments for what was asked; None for anything that is not allowed."""
    if asked == "info":
        return ("--version",)
    found = _INCREMENTAL.fullmatch(asked)
    if asked != "full" and found is None:
        return None
    return (
        f"--defaults-file={config}",
        "--backup",
        "--stream=mbstream",
        f"--user={account}",
        "--target-dir=/tmp",  # nothing is written there: all goes into the stream
        *((f"--incremental-lsn={found[1]}",) if found else ()),
    )


def main(given: Sequence[str] | None = None) -> int:
    """Become the backup tool; return a status only when that is not to be."""
    words = list(sys.argv[1:] if given is None else given)
    config, account = CONFIG, "mysql"
    while len(words) >= 2 and words[0] in ("--config", "--user"):
        option, value, *words = words
        config, account = (Path(value), account) if option == "--config" else (config, value)
    found = arguments(os.environ.get("SSH_ORIGINAL_COMMAND", ""), config, account)
    if words or found is None:
        print("Refused: ask for 'full', 'incremental LSN' or 'info'.", file=sys.stderr)
        return _REFUSED
    tool = next((path for path in _TOOLS if path.exists()), None)
    if tool is None:
        print("mariadb-backup is not installed here: run provision.", file=sys.stderr)
        return _ABSENT
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
    return os.execve(tool, [str(tool), *found], environment)


if __name__ == "__main__":
    sys.exit(main())
