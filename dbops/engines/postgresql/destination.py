"""Where a restore goes to: which backup it starts from, which target it asks for, and whether the
log between the two is whole. Reads the repository, changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dbops.contract import RestoreRequest
from dbops.engines.postgresql import catalogue, pgbackrest, wal
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import Stanza, StoredBackup, StoredSegment
from dbops.errors import ConfigError, VerificationFailed

_NOT_YET_ARCHIVED_BYTES = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_.:@+-][A-Za-z0-9_.:@+ -]{0,62}")


@dataclass(frozen=True)
class Destination:
    """A backup and pgBackRest's options that lead from it to the wanted point."""

    backup: StoredBackup
    flags: tuple[str, ...]
    words: str
    version: str

    @property
    def backup_id(self) -> str:
        """The label of the backup."""
        return self.backup.label

    @property
    def room(self) -> int:
        """The bytes of its files; pgBackRest fetches the log piece by piece."""
        return self.backup.size


@dataclass(frozen=True)
class _Log:
    """The archived log that belongs to a backup's generation, and the timeline it leads to."""

    segments: dict[str, StoredSegment]
    timeline: int
    ancestors: list[wal.Switch]

    def leads_from(self, backup: StoredBackup) -> bool:
        timeline, _ = wal.split_segment(backup.stop_segment)
        stop = wal.parse_lsn(backup.stop_lsn)
        return wal.on_path(timeline, stop, self.timeline, self.ancestors)


def choose(opts: Options, request: RestoreRequest, *, live: bool = False) -> Destination:
    """Return the way to the requested point.

    ``live`` says that the server still runs, so that what it archives when it stops may be needed.
    Raises ConfigError for a point that does not exist (the window is named), VerificationFailed
    when a segment on the way is missing.
    """
    _one_point(request)
    stanza = pgbackrest.info(opts)
    wanted = catalogue.choose(stanza, request.backup_id)
    log = _log(opts, stanza, wanted.database_id)
    known = [
        b
        for b in stanza.backups
        if not b.error and b.database_id == wanted.database_id and log.leads_from(b)
    ]
    if request.backup_id is not None:
        backup, candidates = wanted, [wanted]
    else:
        candidates = known
        backup = known[-1] if known else wanted
    if request.time is not None:
        backup = _for_time(candidates or [wanted], log, request.time, live)
    elif request.point is not None:
        backup = _for_point(candidates or [wanted], log, request.point, live)
    elif request.name is not None:
        backup = _for_name(candidates or [wanted], log, request.name)
    flags = [*_target(request), *_timeline(log, backup)]
    _whole(log, backup, request)
    version = stanza.versions.get(backup.database_id, stanza.version)
    return Destination(backup, tuple(flags), _words(request), version)


def _one_point(request: RestoreRequest) -> None:
    if sum(value is not None for value in (request.time, request.point, request.name)) > 1:
        raise ConfigError("Only one of a time, a log position and a name can be restored to.")
    if request.time is not None and request.time.tzinfo is None:
        raise ConfigError("The time to restore to needs a time zone, such as Z for UTC.")
    if request.point is not None:
        try:
            wal.parse_lsn(request.point)
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
    if request.name is not None and not _NAME.fullmatch(request.name):
        raise ConfigError(
            f"{request.name!r} is not a restore point's name that can be asked for: use letters, "
            "digits and any of _.:@+- up to 63."
        )


def _log(opts: Options, stanza: Stanza, database_id: int) -> _Log:
    archive = stanza.archive(database_id)
    if archive is None:
        raise VerificationFailed("The repository holds backups and no log at all.")
    found = pgbackrest.segments(opts, archive.archive_id)
    timeline = pgbackrest.latest_timeline(opts, archive.archive_id, found)
    return _Log(found, timeline, pgbackrest.history(opts, archive.archive_id, timeline))


def _for_time(
    candidates: list[StoredBackup], log: _Log, moment: datetime, live: bool
) -> StoredBackup:
    oldest = min(backup.stop for backup in candidates)
    newest = max([*(s.archived for s in log.segments.values()), oldest])
    newest = datetime.now(UTC) if live else newest
    fitting = [backup for backup in candidates if backup.stop <= moment]
    if not fitting or moment > newest:
        raise ConfigError(
            f"{_utc(moment)} is outside the recovery window, "
            f"which is from {_utc(oldest)} to {_utc(newest)}."
        )
    return fitting[-1]


def _for_point(candidates: list[StoredBackup], log: _Log, point: str, live: bool) -> StoredBackup:
    position = wal.parse_lsn(point)
    oldest = min(wal.parse_lsn(backup.stop_lsn) for backup in candidates)
    last = wal.last_number(log.segments, log.timeline, log.ancestors)
    newest = max(oldest, (last + 1) * wal.SEGMENT_BYTES)
    fitting = [backup for backup in candidates if wal.parse_lsn(backup.stop_lsn) <= position]
    if not fitting or (position > newest + (_NOT_YET_ARCHIVED_BYTES if live else 0)):
        raise ConfigError(
            f"{point} is outside the recovery window, "
            f"which is from {wal.format_lsn(oldest)} to {wal.format_lsn(newest)}."
        )
    return fitting[-1]


def _for_name(candidates: list[StoredBackup], log: _Log, name: str) -> StoredBackup:
    """A name says nothing about when: only the oldest backup with a whole log is surely before."""
    for backup in candidates:
        if name == f"dbops_{backup.label}":
            return backup
    for backup in candidates:
        if _hole(log, backup) is None:
            return backup
    return candidates[0]


def _hole(log: _Log, backup: StoredBackup) -> str | None:
    timeline, ancestors = log.timeline, log.ancestors
    if not log.leads_from(backup):
        timeline, ancestors = wal.split_segment(backup.stop_segment)[0], []
    return wal.first_hole(log.segments, backup.start_segment, timeline, ancestors)


def _target(request: RestoreRequest) -> tuple[str, ...]:
    if request.time is not None:
        moment = request.time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        return ("--type=time", f"--target={moment}", "--target-action=promote")
    if request.point is not None:
        # A position names the boundary before the next record: that record is not wanted.
        return (
            "--type=lsn",
            f"--target={request.point}",
            "--target-exclusive",
            "--target-action=promote",
        )
    if request.name is not None:
        return ("--type=name", f"--target={request.name}", "--target-action=promote")
    return ("--type=default",)


def _timeline(log: _Log, backup: StoredBackup) -> tuple[str, ...]:
    return ("--target-timeline=latest" if log.leads_from(backup) else "--target-timeline=current",)


def _whole(log: _Log, backup: StoredBackup, request: RestoreRequest) -> None:
    """Refuse a hole before the target: a recovery to the newest would end there without a word."""
    hole = _hole(log, backup)
    if hole is None or request.name is not None:
        return
    _, number = wal.split_segment(hole)
    if request.point is not None and wal.parse_lsn(request.point) <= number * wal.SEGMENT_BYTES:
        return
    before = [
        segment.archived
        for name, segment in log.segments.items()
        if wal.split_segment(name)[1] == number - 1
    ]
    if request.time is not None and before and request.time <= max(before):
        return
    until = f" (that is until about {_utc(max(before))})" if before else ""
    raise VerificationFailed(
        f"WAL segment {hole} is missing from the archive, so {_words(request)} cannot be reached "
        f"from backup {backup.label}: restore to a point before "
        f"{wal.format_lsn(number * wal.SEGMENT_BYTES)}{until}, or use a later backup."
    )


def _words(request: RestoreRequest) -> str:
    if request.time is not None:
        return _utc(request.time)
    if request.point is not None:
        return f"position {request.point}"
    return f"restore point {request.name!r}" if request.name is not None else "the newest moment"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
