"""When the newest WAL segment came into the repository, read off its folders.

The exporter asks at every scrape, so no process is started for it; its account owns the folders.
What is *not* here: what else the repository holds (:mod:`.catalogue`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dbops.engines.postgresql import wal

_LOG = re.compile(r"[0-9A-F]{16}")
_NEWEST_FOLDERS = 2
"""The newest folder may be so new that it holds no whole segment yet."""


def newest(repo_path: Path, stanza: str) -> float | None:
    """Return when the newest segment of a stanza arrived (seconds since 1970), None for none."""
    times: list[float] = []
    try:
        for generation in _folders(repo_path / "archive" / stanza):
            logs = [one for one in _folders(generation) if _LOG.fullmatch(one.name)]
            for log in sorted(logs)[-_NEWEST_FOLDERS:]:
                times.extend(_arrivals(log))
    except OSError:
        return None
    return max(times, default=None)


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as found:
        return [path / one.name for one in found if one.is_dir(follow_symlinks=False)]


def _arrivals(folder: Path) -> Iterator[float]:
    with os.scandir(folder) as found:
        for one in found:
            if wal.stored_segment(one.name) and one.is_file(follow_symlinks=False):
                yield one.stat(follow_symlinks=False).st_mtime
