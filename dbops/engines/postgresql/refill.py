"""What a drill takes from the repository: the backup, its manifest, and every log segment after it.

It needs the repository and nothing else; no production host is asked for anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbops import runner
from dbops.contract import Progress
from dbops.drill.scratch import put
from dbops.engines.postgresql import catalogue, pgbackrest, replay, wal
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import StoredBackup
from dbops.engines.postgresql.private_server import Scratch
from dbops.errors import CommandFailed, DbopsError, VerificationFailed
from dbops.manifest import Fingerprint, Manifest
from dbops.targets import Target

_FETCHERS = 2
_FETCH_SECONDS = 300.0
_DAMAGE = re.compile(r"FormatError|ChecksumError|CryptoError|corrupt|checksum", re.IGNORECASE)
_NAMED = 3
_MANIFEST_FILE = re.compile(r"(pg_data/([^=]+))=(\{.*\})")
_RESTORED = re.compile(r"error restoring '([^']+)'")
_STORED = re.compile(r"(?:.*/)?([0-9A-F]{24})-([0-9a-f]{40})(?:\.[a-z0-9]+)?")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history")
_FULL_BYTES = 32 * 1024 * 1024
_SPARE_BYTES = 256 * 1024 * 1024
_LISTINGS = 4
_LISTING_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Log:
    """The archived log to replay: every segment from the backup's first one to the newest.

    ``listed_at`` is when it had been listed: what came later is not in it. ``files`` are the
    archived history files by name, ``checksums`` the SHA-1 of each segment as it was when archived.
    """

    segments: tuple[str, ...]
    timeline: int
    files: tuple[tuple[str, str], ...]
    listed_at: datetime
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Supplies:
    """What will be restored, chosen before anything is written."""

    stored: StoredBackup
    manifest: Manifest
    log: Log

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What the content is compared with, in the order of the log."""
        return tuple(sorted(self.manifest.fingerprints, key=lambda one: wal.parse_lsn(one.point)))

    @property
    def room(self) -> int:
        """About how many bytes the restored data and the log will take."""
        log_bytes = len(self.log.segments) * wal.SEGMENT_BYTES
        return int(self.stored.size * 1.05) + log_bytes + _SPARE_BYTES


def choose(options: Options, backup_id: str | None) -> StoredBackup:
    """Return the backup asked for, or the newest sound one; ConfigError for one unknown."""
    return catalogue.choose(pgbackrest.info(options), backup_id)


def provable(stored: StoredBackup, manifest: Manifest | None) -> Manifest:
    """Return the manifest of a backup whose content can be proven; VerificationFailed if not."""
    if stored.error:
        raise VerificationFailed(
            f"Backup {stored.label} holds pages that were damaged when it was taken: "
            "look at the data checksums of the member it came from."
        )
    if manifest is None:
        raise VerificationFailed(
            f"Backup {stored.label} has no manifest, so its content cannot be proven: "
            "take backups with dbops backup take."
        )
    return manifest


def survey(target: Target, options: Options, stored: StoredBackup) -> Supplies:
    """Read the manifest and list the log that follows; VerificationFailed names what is missing."""
    manifest = provable(stored, catalogue.read_manifest(target, options, stored.label))
    archive = pgbackrest.info(options).archive(stored.database_id)
    if archive is None:
        raise VerificationFailed(f"The archive holds no log for backup {stored.label}.")
    for attempt in range(_LISTINGS):
        try:
            log = _list_log(options, archive.archive_id, stored.start_segment)
            supplies = Supplies(stored, manifest, log)
            check_reach(supplies)
            return supplies
        except VerificationFailed:
            # Several archivers work at once: a later segment may be there a moment earlier.
            if attempt == _LISTINGS - 1:
                raise
            time.sleep(_LISTING_PAUSE_SECONDS)
    raise AssertionError


def _list_log(options: Options, archive_id: str, start: str) -> Log:
    place = f"archive/{options.stanza}/{archive_id}"
    listing = sorted(
        json.loads(pgbackrest.ask(options, "repo-ls", "--output=json", "--recurse", place) or "{}")
    )
    listed_at = datetime.now(UTC)
    names = {match[1]: match[2] for match in map(_STORED.fullmatch, listing) if match}
    files = {
        name: pgbackrest.ask(options, "repo-get", f"{place}/{name}")
        for name in listing
        if _HISTORY.fullmatch(name)
    }
    histories = {int(name[:8], 16): wal.parse_history(text) for name, text in files.items()}
    beginning, _ = wal.split_segment(start)
    timeline = replay.newest_timeline(beginning, histories, {int(name[:8], 16) for name in names})
    segments = replay.path(names, start, timeline, histories.get(timeline, []))
    checksums = {name: names[name] for name in segments}
    return Log(tuple(segments), timeline, tuple(files.items()), listed_at, checksums)


def check_reach(supplies: Supplies) -> None:
    """Raise VerificationFailed when the log ends before a fingerprint's point."""
    _, newest = wal.split_segment(supplies.log.segments[-1])
    for fingerprint in supplies.manifest.fingerprints:
        number = wal.parse_lsn(fingerprint.point) // wal.SEGMENT_BYTES
        if number > newest:
            name = wal.segment_name(fingerprint.timeline or supplies.log.timeline, number)
            raise VerificationFailed(
                f"WAL gap: segment {name}, which holds the fingerprint's point "
                f"{fingerprint.point}, is missing from the archive."
            )


def restore(options: Options, scratch: Scratch, supplies: Supplies, progress: Progress) -> int:
    """Restore the backup's files into the scratch folders and return how many bytes they are."""
    try:
        pgbackrest.ask(
            options,
            "restore",
            f"--set={supplies.stored.label}",
            f"--pg1-path={scratch.data}",
            f"--tablespace-map-all={scratch.tablespaces}",
            "--type=none",
            "--log-level-console=info",
            timeout_seconds=None,
            progress=progress,
        )
    except CommandFailed as error:
        _check_not_full(scratch)
        progress("looking for the damaged file")
        raise _name_damage(options, scratch, supplies.stored, error) from None
    return size(scratch.data) + size(scratch.tablespaces)


def _check_not_full(scratch: Scratch) -> None:
    if shutil.disk_usage(scratch.root).free < _FULL_BYTES:
        raise VerificationFailed(
            f"The scratch disk under {scratch.root} is full: make room or set the option "
            "scratch_dir."
        )


def _name_damage(
    options: Options, scratch: Scratch, stored: StoredBackup, error: CommandFailed
) -> DbopsError:
    """Return ``error`` with the damaged file's name, when it is about one.

    pgBackRest names a file whose checksum is another, and none that cannot be unpacked: those are
    the ones that it had begun and not finished. Its own ``verify`` breaks off at such a file when
    the repository is on another host.
    """
    if not _DAMAGE.search(str(error)):
        return error
    named = _RESTORED.search(str(error))
    if named and Path(named[1]).is_relative_to(scratch.data):
        files = [str(Path("pg_data") / Path(named[1]).relative_to(scratch.data))]
    else:
        files = _unfinished(options, scratch, stored)
    if not files:
        return VerificationFailed(f"A file of the backup is damaged: {error}")
    return VerificationFailed(
        f"The repository is damaged: {' or '.join(files[:_NAMED])} of backup {stored.label}, or of "
        "one that it builds on, is not what was stored."
    )


def _unfinished(options: Options, scratch: Scratch, stored: StoredBackup) -> list[str]:
    """Return the files that a failed restore has begun: not of their size and time yet."""
    place = f"backup/{options.stanza}/{stored.label}/backup.manifest"
    try:
        lines = pgbackrest.ask(options, "repo-get", place).splitlines()
    except DbopsError:
        return []
    found = []
    for match in filter(None, map(_MANIFEST_FILE.fullmatch, lines)):
        try:
            there = (scratch.data / match[2]).lstat()
            wanted = json.loads(match[3])
            finished = int(wanted["size"]), int(wanted["timestamp"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if (there.st_size, int(there.st_mtime)) != finished:
            found.append(match[1])
    return found


def fetch(options: Options, scratch: Scratch, log: Log, progress: Progress) -> None:
    """Bring every segment and history file of ``log`` into the scratch folder."""
    for name, text in log.files:
        put(scratch.wal / name, text, scratch.user)
    with ThreadPoolExecutor(_FETCHERS) as pool:
        jobs = [
            pool.submit(_fetch_one, options, scratch, name, log.checksums[name])
            for name in log.segments
        ]
        try:
            for done, job in enumerate(jobs, 1):
                job.result()
                progress(f"fetching WAL: {done} of {len(jobs)} segments")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(options: Options, scratch: Scratch, name: str, checksum: str) -> None:
    """Fetch one segment and compare it with what was archived; pgBackRest itself does not."""
    place = scratch.wal / name
    request = pgbackrest.command(
        options,
        "archive-get",
        f"--pg1-path={scratch.data}",
        "--no-archive-async",
        name,
        str(place),
        timeout_seconds=_FETCH_SECONDS,
    )
    done = runner.capture(request)
    if done.status == 1 and "ERROR" not in done.stderr:
        raise VerificationFailed(f"WAL gap: segment {name} is missing from the archive.")
    if done.status != 0:
        _check_not_full(scratch)
        error = pgbackrest.failure(done, "archive-get")
        if isinstance(error, CommandFailed):
            raise VerificationFailed(f"WAL segment {name} cannot be read back: {error}")
        raise error
    with place.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    if found != checksum:
        raise VerificationFailed(
            f"WAL segment {name} in the archive is damaged: its content is not what was archived."
        )


def size(folder: Path) -> int:
    """Return the bytes of all plain files under ``folder``; links are not followed."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.lstat().st_size for path in files)
