"""Bring the log that only a stopped member still has into the archive, before a restore.

A primary that dies takes with it what it had not archived; its standby, or its own disk, usually
has all of it. The last segment is pushed unfinished: recovery reads it as far as it goes, and the
restored server goes on in a timeline of its own, so nothing is pushed under that name again.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from dbops.engines.postgresql import options, pgbackrest, restore, wal
from dbops.engines.postgresql.options import Options
from dbops.errors import Refused
from dbops.runner import Plan, Step
from dbops.targets import Target

_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
# XLogLongPageHeaderData (access/xlog_internal.h): magic, flags, timeline, address of the page.
_PAGE_HEADER = struct.Struct("<HHIQ")


def plan_salvage(target: Target) -> Plan:
    """Return the pushes of every log file that this stopped member has and the archive lacks.

    Raises Refused while the server runs: it archives by itself.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    if restore.running_process(data_dir) is not None:
        raise Refused(
            f"The server on {data_dir} is running and archives by itself: salvage is for a "
            "cluster that was stopped to be restored."
        )
    stanza = pgbackrest.info(opts)
    archive = stanza.archive()
    if archive is None or not stanza.backups:
        return ()
    archived = set(pgbackrest.segments(opts, archive.archive_id))
    first = wal.split_segment(stanza.backups[-1].start_segment)
    place = data_dir / "pg_wal"
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    known = pgbackrest.latest_timeline(opts, archive.archive_id, archived)
    histories = [name for name in names if _unknown_history(name, known)]
    wanted = [name for name in names if name not in archived and _follows(place / name, first)]
    return tuple(_push(opts, place / name) for name in (*histories, *wanted))


def _unknown_history(name: str, known: int) -> bool:
    match = _HISTORY.fullmatch(name)
    return match is not None and int(match[1], 16) > known


def _follows(path: Path, first: tuple[int, int]) -> bool:
    """Return whether ``path`` is a segment with log of its own, at or after ``first``.

    A segment kept for reuse has a future name and old content: its first page's address tells.
    """
    try:
        timeline, number = wal.split_segment(path.name)
    except ValueError:
        return False
    if timeline < first[0] or number < first[1] or path.stat().st_size != wal.SEGMENT_BYTES:
        return False
    with path.open("rb") as stream:
        header = stream.read(_PAGE_HEADER.size)
    _, _, written_on, address = _PAGE_HEADER.unpack(header)
    return bool(written_on <= timeline and address == number * wal.SEGMENT_BYTES)


def _push(opts: Options, path: Path) -> Step:
    return pgbackrest.command(
        opts, "archive-push", "--no-archive-async", str(path), timeout_seconds=300
    )
