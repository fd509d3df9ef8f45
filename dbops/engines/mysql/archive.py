"""The archived binary log on the repository host: what there is, what it leads to, what may go.

Files that were read and have not grown are remembered, so that a run every minute reads only what
is new. What is *not* here: fetching (:mod:`.puller`) and storing (:mod:`.backup`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from dbops import files as writing
from dbops.contract import Progress
from dbops.engines.mysql import binlog, chain, client, flavor, gtid, index
from dbops.engines.mysql.chain import Chain, File
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.gtid import Position
from dbops.errors import DbopsError, VerificationFailed

PURGED = "gtid_purged"
"""The file in a session's folder that says what had happened and was in none of the files."""
WAIT_SECONDS = 120.0
_LOOK_SECONDS = 0.5


def survey(
    root: Path, memory: Path | None = None, damaged: dict[str, str] | None = None
) -> list[File]:
    """Return the archived files, each name and life once. ``memory`` keeps what was read before.

    A damaged file is left out once its member's log was fetched anew, as it is after a full disk:
    if it was not fetched again, the way through the log has a hole there and says so. One that is
    damaged in the newest folder is noted in ``damaged``, by its member, for that is no reason to
    do without the others'; without that, VerificationFailed is raised.
    """
    known = _remembered(root, memory)
    newest = set(_newest_folders(root))
    purged: dict[Path, Position] = {}
    found = []
    for path in sorted(root.glob("*/*/*")):
        if not chain.NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            continue
        before = known.get(path)
        size = path.stat().st_size
        if before is not None and before.summary.size == size:
            found.append(before)
        elif size > 4:
            known_before = purged.setdefault(path.parent, _purged(path.parent))
            try:
                summary = chain.after_all_of(binlog.summary(path), known_before)
                found.append(File(path.parent.parent.name, summary))
            except VerificationFailed as error:
                if path.parent not in newest:
                    continue
                if damaged is None:
                    raise
                damaged[path.parent.parent.name] = str(error)
    if memory is not None:
        writing.write(memory, index.write(found, root), shared=False)
    return chain.longest(found)


def _newest_folders(root: Path) -> Iterator[Path]:
    for member in root.glob("*/"):
        yield from sorted(member.glob("*/"))[-1:]


def note_purged(session: Path, connection: Connection) -> None:
    """Note in a session's folder what the server's files will not tell, if there is any."""
    query = flavor.of(connection).purged
    text = str(client.value(connection, query) or "") if query else ""
    if text:
        write_purged(session, gtid.parse(text))


def write_purged(session: Path, position: Position) -> None:
    """Note in a session's folder what had happened before all of its files."""
    (session / PURGED).write_text(f"{position}\n", encoding="utf-8")


def _purged(session: Path) -> Position:
    try:
        return gtid.parse((session / PURGED).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return Position()


def _remembered(root: Path, memory: Path | None) -> dict[Path, File]:
    if memory is None:
        return {}
    try:
        listed = index.read(memory.read_text(encoding="utf-8"), root)
    except (OSError, ValueError, ValidationError, DbopsError):
        return {}
    return {file.summary.path: file for file in listed}


def wait(root: Path, start: Position, until: Position, progress: Progress) -> Chain:
    """Return the archived way to ``until`` once it is there, else raise VerificationFailed."""
    progress(f"waiting for the binary log up to {until}")
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            # What is damaged is fetched anew meanwhile, and may be another member's.
            return chain.follow(chain.toward(survey(root, damaged={}), until), start, until)
        except VerificationFailed:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK_SECONDS)


def superseded(files: Sequence[File], root: Path, oldest: Position) -> list[Path]:
    """Return the archived copies that no backup needs: all before ``oldest``, or shorter ones.

    The newest folder of each member is left alone: it is being written to.
    """
    kept = {file.summary.path for file in files}
    gone = []
    for member in sorted(path for path in root.iterdir() if path.is_dir()):
        for session in sorted(path for path in member.iterdir() if path.is_dir())[:-1]:
            others = [path for path in sorted(session.iterdir()) if path not in kept]
            if session in {path.parent for path in kept}:
                others = [path for path in others if path.name != PURGED]
            gone += [path for path in others if not binlog.damaged(path)]
    gone += [f.summary.path for f in files if f.summary.closed and oldest.holds(f.summary.after)]
    return gone


def tidy(gone: Sequence[Path]) -> None:
    """Remove files, and the folders that this leaves empty."""
    for path in gone:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in gone}:
        with suppress(OSError):
            folder.rmdir()
