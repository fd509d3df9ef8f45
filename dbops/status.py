"""What the last attempts came to: ``backup-status.json`` in the state directory, for metrics.

``{"schema_version": 1,
"kinds": {kind: {"last_attempt": time, "running": bool, "last_result": 0 or 1, "last_success": time
or null, "duration_seconds": n, "bytes_read": n, "bytes_stored": n, "backup_id": text, "message":
text}},
"verify": {"last_attempt", "last_result", "last_success", "files_checked", "problems": [text],
"sound": [backup id]},
"catalogue": {"retained": n, "full": n, "chain_length": n, "encrypted": bool,
"oldest": time or null, "newest": time or null, "newest_backup": id or null,
"gap_seconds": n, "doubt": text or null},
"prune": {"last_success": time},
"members": {"last_attempt", "last_result", "last_success", "primary", "point", "message",
"differences": {member: n}}}``.
Times are ISO 8601 in UTC. ``last_result`` is that of the last attempt that has ended, also by being
killed; one that runs has changed nothing but ``last_attempt`` so far.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbops import files, handles, lock
from dbops.contract import Backup, Catalogue, MembersCompared, VerifyResult
from dbops.errors import DbopsError
from dbops.manifest import Kind, Manifest
from dbops.targets import Target, state_folder

SCHEMA = 1
_LOOK_SECONDS = 10.0
"""Whoever reads the status holds the lock of a running attempt for a moment."""


def path(target: Target) -> Path:
    """Return where the status of ``target`` is kept."""
    return target.state_dir / "backup-status.json"


def read(target: Target) -> dict[str, Any]:
    """Return the status; an absent or torn file counts as none so far."""
    try:
        data = json.loads(handles.read(path(target)))
    except (OSError, ValueError):
        data = {}
    status: dict[str, Any] = data if isinstance(data, dict) else {}
    sections: dict[str, Any] = {
        "kinds": {},
        "verify": {},
        "catalogue": {},
        "prune": {},
        "members": {},
    }
    status = {"schema_version": SCHEMA} | sections | status
    for kind, last in status["kinds"].items():
        if last.get("running") and not lock.held(target, _attempt(kind)):
            last.update(running=False, last_result=0, message="did not end")
    return status


def _attempt(kind: str) -> str:
    return f"{kind} attempt"


def update(target: Target, section: str, changes: dict[str, Any], kind: str | None = None) -> None:
    """Merge ``changes`` into one section of the status, or into one kind of ``kinds``.

    A log backup may end while a full one does: each waits for the other's merge.
    """
    with _guard(target):
        status = read(target)
        place = status[section] if kind is None else status[section].setdefault(kind, {})
        place.update(changes)
        text = json.dumps(status, indent=1, ensure_ascii=False) + "\n"
        files.write(path(target), text, shared=True)


@contextmanager
def _guard(target: Target) -> Iterator[None]:
    with state_folder(target.state_dir) as place:
        fcntl.flock(place.handle, fcntl.LOCK_EX)
        yield


@contextmanager
def recorded(target: Target, kind: Kind) -> Iterator[Callable[[Manifest], None]]:
    """Write down that an attempt runs, and how it ended; a killed one counts as failed.

    Yields a function that is told the manifest of the backup once it is complete; without that the
    attempt stays a failed one.
    """
    began = time.monotonic()
    complete: list[Manifest] = []

    def note(result: int, message: str, **more: object) -> None:
        changes = {"running": False, "last_result": result, "message": message, **more}
        update(target, "kinds", changes, kind=kind)

    start = datetime.now(UTC).isoformat(timespec="seconds")
    with lock.hold(target, _attempt(kind), _LOOK_SECONDS):
        update(target, "kinds", {"running": True, "last_attempt": start}, kind=kind)
        try:
            yield complete.append
        except BaseException as error:
            message = str(error) if isinstance(error, DbopsError) else "was interrupted"
            note(0, message, duration_seconds=round(time.monotonic() - began, 1))
            raise
        if not complete:
            note(0, "did not end")
        for manifest in complete:
            note(
                1,
                "",
                last_success=manifest.stop.isoformat(timespec="seconds"),
                duration_seconds=round(time.monotonic() - began, 1),
                bytes_read=manifest.bytes_read,
                bytes_stored=manifest.bytes_stored,
                backup_id=manifest.backup_id,
            )


def note_catalogue(target: Target, catalogue: Catalogue, encrypted: bool) -> None:
    """Write down what the catalogue holds now, for whoever may not read the repository."""
    backups = [backup for backup in catalogue.backups if backup.kind != "log"]
    window = catalogue.window
    changes = {
        "retained": len(backups),
        "full": sum(1 for backup in backups if backup.kind == "full"),
        "chain_length": len(chain(backups, backups[-1])) if backups else 0,
        "encrypted": encrypted,
        "oldest": window.oldest.isoformat() if window else None,
        "newest": window.newest.isoformat() if window else None,
        "newest_backup": backups[-1].backup_id if backups else None,
        "gap_seconds": sum((end - begin).total_seconds() for begin, end in window.gaps)
        if window
        else 0.0,
        "doubt": catalogue.doubt,
    }
    update(target, "catalogue", changes)


def chain(backups: Sequence[Backup], last: Backup) -> list[Backup]:
    """Return the backups that a restore of ``last`` needs, the full one first, itself last."""
    known = {backup.backup_id: backup for backup in backups}
    found = [last]
    while found[0].parent_id in known and len(found) <= len(known):
        found.insert(0, known[found[0].parent_id or ""])
    return found


def note_verified(target: Target, result: VerifyResult, sound: Sequence[str]) -> None:
    """Write down what a reading back of every stored file found, and the ids it found sound."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    changes: dict[str, Any] = {
        "last_attempt": now,
        "last_result": 0 if result.problems else 1,
        "files_checked": result.files_checked,
        "problems": list(result.problems),
        "sound": list(sound),
    }
    if not result.problems:
        changes["last_success"] = now
    update(target, "verify", changes)


@contextmanager
def comparing(target: Target) -> Iterator[Callable[[MembersCompared], None]]:
    """Write down how a comparison of the members ended; yields what is told its result.

    Only one that found every member of the cluster equal is a good one.
    """
    changes: dict[str, Any] = {"last_attempt": _now(), "last_result": 0, "message": "did not end"}

    def note(found: MembersCompared) -> None:
        counts = {member: len(each) for member, each in found.differences.items()}
        differ = [f"{name} differs in {number} places" for name, number in counts.items() if number]
        left = [f"{name} was not compared: {why}" for name, why in found.skipped.items()]
        changes.update(primary=found.primary, point=found.point, differences=counts)
        changes["message"] = "; ".join((*differ, *left))
        if not changes["message"]:
            changes.update(last_result=1, last_success=_now())

    try:
        yield note
    except DbopsError as error:
        changes["message"] = str(error)
        raise
    finally:
        update(target, "members", changes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
