"""The list of archived binary log files, stored beside them so that a plan can read it alone.

What is *not* here: the files themselves (:mod:`.archive`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dbops.engines.mysql import gtid
from dbops.engines.mysql.binlog import Run, Summary
from dbops.engines.mysql.chain import File
from dbops.targets import Model

NAME = "binlog-index.json"


class Entry(Model):
    """One file as listed. ``path`` is below the archive's root: member, session, name."""

    path: str
    before: str
    after: str
    begun_at: datetime
    last_at: datetime
    closed: bool
    size: int
    runs: tuple[Run, ...]


class Index(Model):
    """All files of one archive."""

    schema_version: int = 1
    files: tuple[Entry, ...] = ()


def entry(file: File, root: Path) -> Entry:
    """Return what is listed of a file."""
    known = file.summary
    return Entry(
        path=str(known.path.relative_to(root)),
        before=str(known.before),
        after=str(known.after),
        begun_at=known.begun_at,
        last_at=known.last_at,
        closed=known.closed,
        size=known.size,
        runs=known.runs,
    )


def write(files: Sequence[File], root: Path) -> str:
    """Return the list of ``files`` as text."""
    return Index(files=tuple(entry(file, root) for file in files)).model_dump_json()


def read(text: str, root: Path) -> list[File]:
    """Return the files of a list, as if they lay below ``root``."""
    return [file(one, root) for one in Index.model_validate_json(text).files]


def file(one: Entry, root: Path) -> File:
    """Return a listed file as if it lay below ``root``."""
    summary = Summary(
        path=root / one.path,
        before=gtid.parse(one.before),
        after=gtid.parse(one.after),
        begun_at=one.begun_at,
        last_at=one.last_at,
        closed=one.closed,
        size=one.size,
        runs=one.runs,
    )
    return File(one.path.split("/", 1)[0], summary)
