"""What a catalogue lists, and the way from it to a backup, a time or the newest moment.

Ids: a full backup ``20260102-030405F``, an incremental one ``<full id>_20260103-030405I``, a log
entry ``<anything>L``. ``parent_id`` of an incremental is the backup that it builds upon. A log
entry holds all log since its parent (since the oldest backup for None) and supersedes the former
entry with the same parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from dbops.contract import RecoveryWindow
from dbops.errors import ConfigError
from dbops.manifest import Kind, Manifest
from dbops.repository.plausible import Full
from dbops.targets import Model

GAP_SECONDS = 20.0
"""Less between two backups is not called a gap: a log ends with the last beat, not with a tick."""


class Entry(Model):
    """One backup: its manifest, and the snapshot of each of its streams by the stream's name."""

    manifest: Manifest
    snapshots: dict[str, str]

    @property
    def backup_id(self) -> str:
        """The id of the backup."""
        return self.manifest.backup_id


@dataclass(frozen=True)
class Route:
    """How to restore: ``chain`` from the full backup on, oldest first, then ``log`` if any."""

    chain: tuple[Entry, ...]
    log: Entry | None


def new_id(kind: Kind, stop: datetime, parent_id: str | None = None) -> str:
    """Return the id for a backup of ``kind``; ``parent_id`` is needed for an incremental one."""
    own = stop.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    if kind == "full":
        return f"{own}F"
    if kind == "log":
        return f"{own}L"
    if parent_id is None:
        raise ValueError("an incremental backup builds upon another")
    return f"{parent_id.partition('_')[0]}_{own}I"


def without_logs(found: Sequence[Entry]) -> list[Entry]:
    """Return the entries that are backups themselves."""
    return [entry for entry in found if entry.manifest.kind != "log"]


def fulls(found: Sequence[Entry]) -> list[Full]:
    """Return the full backups, and what retention asks of each."""
    return [full(entry.manifest) for entry in found if entry.manifest.kind == "full"]


def full(manifest: Manifest) -> Full:
    """Return what retention asks of a full backup."""
    return Full(
        manifest.backup_id,
        manifest.bytes_read,
        manifest.accepted,
        stop=manifest.stop,
        automatic=manifest.automatic,
    )


def window(found: Sequence[Entry]) -> RecoveryWindow | None:
    """Return from when (the oldest backup's stop) until when (the newest log's) restores can go.

    A gap is where the log that goes on from one backup ends before the next one.
    """
    backups = without_logs(found)
    if not backups:
        return None
    gaps = []
    for former, later in pairwise(backups):
        end, begin = reach(found, former), later.manifest.stop
        if (begin - end).total_seconds() > GAP_SECONDS:
            gaps.append((end, begin))
    return RecoveryWindow(
        oldest=min(entry.manifest.stop for entry in backups),
        newest=max(entry.manifest.stop for entry in found),
        gaps=tuple(gaps),
    )


def reach(found: Sequence[Entry], entry: Entry) -> datetime:
    """Return the newest time that a restore of ``entry`` can go to."""
    log = log_of(found, entry)
    return max(entry.manifest.stop, log.manifest.stop) if log else entry.manifest.stop


def choose(found: Sequence[Entry], backup_id: str | None) -> Entry:
    """Return the backup called ``backup_id``, the newest one for None; never a log entry.

    Raises ConfigError for a name that is no backup's, and when there is no backup at all.
    """
    backups = without_logs(found)
    if not backups:
        raise ConfigError("The catalogue holds no backup: take one first.")
    if backup_id is None:
        return backups[-1]
    for entry in backups:
        if entry.backup_id == backup_id:
            return entry
    known = ", ".join(entry.backup_id for entry in backups[-5:])
    raise ConfigError(f"No backup {backup_id!r} in the catalogue (newest: {known}).")


def chain(found: Sequence[Entry], entry: Entry) -> tuple[Entry, ...]:
    """Return the full backup and all that ``entry`` builds upon, oldest first, ``entry`` last."""
    known = {e.backup_id: e for e in found}
    links = [entry]
    while (parent := links[0].manifest.parent_id) is not None:
        links.insert(0, known[parent])
    return tuple(links)


def log_of(found: Sequence[Entry], entry: Entry) -> Entry | None:
    """Return the log entry that goes on from ``entry``: its own, else the one without a parent."""
    logs = {e.manifest.parent_id: e for e in found if e.manifest.kind == "log"}
    return logs.get(entry.backup_id) or logs.get(None)


def route(
    found: Sequence[Entry], backup_id: str | None = None, time: datetime | None = None
) -> Route:
    """Return what to restore for a backup, a time, or neither (the newest that there is).

    A ``backup_id`` alone still carries its log: leave it out to stop at the backup's own end.
    Raises ConfigError for an unknown backup, and for a time that is outside the window or that the
    log of the backup does not reach.
    """
    if time is None:
        entry = choose(found, backup_id)
        return Route(chain(found, entry), log_of(found, entry))
    reach = window(found)
    if reach is not None and not reach.oldest <= time <= reach.newest:
        raise ConfigError(
            f"{_told(time)} is outside the recovery window, which is from "
            f"{_told(reach.oldest)} to {_told(reach.newest)}."
        )
    entry = _base(found, time) if backup_id is None else choose(found, backup_id)
    log = log_of(found, entry)
    if time < entry.manifest.stop:
        raise ConfigError(
            f"{_told(time)} is before the end of backup {entry.backup_id}, "
            f"{_told(entry.manifest.stop)}: choose an older one."
        )
    if time > entry.manifest.stop and (log is None or log.manifest.stop < time):
        last = entry if log is None else log
        raise ConfigError(
            f"{_told(time)} cannot be reached from backup {entry.backup_id}: "
            f"its log ends at {_told(last.manifest.stop)}."
        )
    return Route(chain(found, entry), log if time > entry.manifest.stop else None)


def _base(found: Sequence[Entry], time: datetime) -> Entry:
    before = [entry for entry in without_logs(found) if entry.manifest.stop <= time]
    return before[-1] if before else choose(found, None)


def _told(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
