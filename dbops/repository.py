"""The catalogue over a restic repository: which backups there are, how they build upon each other.

A backup is a manifest and the snapshots that hold its bytes. All manifests stand in one small
document, kept as a snapshot of its own that is superseded by each change; a backup is listed only
when its manifest is there *and* all its snapshots are. What is *not* here: restic's commands
(:mod:`dbops.restic`), letting backups go (:mod:`dbops.expiry`) and what an engine's streams hold.

Ids: a full backup ``20260102-030405F``, an incremental one ``<full id>_20260103-030405I``, a log
entry ``<anything>L``. ``parent_id`` of an incremental is the backup that it builds upon. A log
entry holds all log since its parent (since the oldest backup for None) and supersedes the former
entry with the same parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from dbops import lock, status
from dbops.contract import Backup, Catalogue, Progress, RecoveryWindow, VerifyResult
from dbops.errors import CommandFailed, ConfigError, VerificationFailed
from dbops.manifest import Kind, Manifest
from dbops.restic import Repository
from dbops.restic_check import Inspection, inspect
from dbops.restic_output import Listing, Snapshot
from dbops.runner import Plan
from dbops.targets import Model, Target

TAG = "dbops-catalogue"
FILE = "catalogue.json"
_GENERATION = "generation-"
_CONTENT = "content-"
_LOCK_WAIT_SECONDS = 120.0
READABLE_HOURS = 3
FORGET_AT = 50


class RepositoryOptions(Protocol):
    """What an engine's options must carry to open its repository.

    On the repository host ``repo_host`` is None and ``repo_path`` is on this disk. Elsewhere
    ``repo_path`` is as SFTP shows it, ``/<cluster>/restic``. ``repo_user`` is the account that
    restic runs as on the repository host (``dbops-repository``), and that SFTP logs in as
    elsewhere (``dbops-reader``).
    """

    @property
    def repo_path(self) -> Path: ...
    @property
    def repo_host(self) -> str | None: ...
    @property
    def repo_password_file(self) -> Path: ...
    @property
    def repo_ssh_key(self) -> Path | None: ...
    @property
    def repo_known_hosts(self) -> Path | None: ...
    @property
    def repo_user(self) -> str: ...


class Entry(Model):
    """One backup: its manifest, and the snapshot of each of its streams by the stream's name."""

    manifest: Manifest
    snapshots: dict[str, str]

    @property
    def backup_id(self) -> str:
        """The id of the backup."""
        return self.manifest.backup_id


class Document(Model):
    """The catalogue as it is stored. ``dropped`` are snapshots that may be forgotten by now."""

    schema_version: Literal[1] = 1
    generation: int
    entries: tuple[Entry, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """How to restore: ``chain`` from the full backup on, oldest first, then ``log`` if any."""

    chain: tuple[Entry, ...]
    log: Entry | None


def open_repository(target: Target, opts: RepositoryOptions) -> Repository:
    """Return the repository of a cluster, to write on its host and read-only elsewhere."""
    if opts.repo_host is None:
        return Repository(str(opts.repo_path), opts.repo_password_file, user=opts.repo_user)
    return Repository(
        f"sftp:{opts.repo_user}@{opts.repo_host}:{opts.repo_path}",
        opts.repo_password_file,
        ssh_key=opts.repo_ssh_key,
        known_hosts=opts.repo_known_hosts,
        read_only=True,
    )


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


# Reading


def entries(repo: Repository) -> tuple[Entry, ...]:
    """Return every complete backup and log entry, by their stop, oldest first.

    Raises VerificationFailed when the catalogue itself is damaged.
    """
    listing = repo.listing()
    return complete(read(repo, listing), listing)


def read(repo: Repository, listing: Listing) -> Document:
    """Return the newest whole document; an empty one where nothing was ever added.

    One that a killed run left half written is passed over. Raises VerificationFailed when the
    newest is damaged, since an older one could leave out backups without a word.
    """
    for snapshot in _generations(listing):
        try:
            text = repo.read_text(snapshot.snapshot_id, FILE)
        except CommandFailed as error:
            raise VerificationFailed(
                f"The catalogue of the repository is damaged ({error}): "
                "run 'dbops backup verify', and take a full backup to begin a new one."
            ) from None
        if _content(text) in snapshot.tags:
            _all_known(listing, document := _parse(text))
            return document
    _all_known(listing, empty := Document(generation=0, entries=()))
    return empty


def _generations(listing: Listing) -> list[Snapshot]:
    """Return the snapshots that hold a catalogue, newest first, whatever the clock said."""
    found = [snapshot for snapshot in listing.snapshots if TAG in snapshot.tags]
    return sorted(found, key=lambda s: (_generation(s), s.time), reverse=True)


def _generation(snapshot: Snapshot) -> int:
    numbers = [tag[len(_GENERATION) :] for tag in snapshot.tags if tag.startswith(_GENERATION)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _content(text: str) -> str:
    return f"{_CONTENT}{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _parse(text: str) -> Document:
    try:
        return Document.model_validate_json(text)
    except ValidationError:
        raise VerificationFailed(
            "The catalogue of the repository was written by another version of dbops: "
            "install that one here too."
        ) from None


def _all_known(listing: Listing, document: Document) -> None:
    """Refuse a listing in which a damaged snapshot may be a newer catalogue."""
    known = [i for entry in document.entries for i in entry.snapshots.values()]
    known += document.dropped
    for short in listing.unreadable:
        if not any(full.startswith(short) for full in known):
            raise VerificationFailed(
                f"The snapshot {short} of the repository is damaged and may be its catalogue: "
                "run 'dbops backup verify'."
            )


def complete(document: Document, listing: Listing) -> tuple[Entry, ...]:
    """Return the entries whose snapshots and whose parents are all there."""
    there = {snapshot.snapshot_id for snapshot in listing.snapshots}
    found: dict[str, Entry] = {}
    for entry in sorted(document.entries, key=lambda e: (e.manifest.stop, e.backup_id)):
        parent = entry.manifest.parent_id
        if there.issuperset(entry.snapshots.values()) and (parent is None or parent in found):
            found[entry.backup_id] = entry
    return tuple(found.values())


def catalogue(repo: Repository) -> Catalogue:
    """Return every complete backup and log, oldest first, and the times a restore can go to."""
    found = entries(repo)
    return Catalogue(backups=tuple(_backup(entry) for entry in found), window=window(found))


def _backups(found: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in found if entry.manifest.kind != "log"]


def _backup(entry: Entry) -> Backup:
    manifest = entry.manifest
    return Backup(
        backup_id=manifest.backup_id,
        kind=manifest.kind,
        start=manifest.start,
        stop=manifest.stop,
        bytes_read=manifest.bytes_read,
        bytes_stored=manifest.bytes_stored,
        parent_id=manifest.parent_id,
        encrypted=True,
        error=False,
        manifest=manifest,
    )


def window(found: Sequence[Entry]) -> RecoveryWindow | None:
    """Return from when (the oldest backup's stop) until when (the newest log's) restores can go."""
    backups = _backups(found)
    if not backups:
        return None
    return RecoveryWindow(
        oldest=min(entry.manifest.stop for entry in backups),
        newest=max(entry.manifest.stop for entry in found),
    )


# Choosing


def choose(found: Sequence[Entry], backup_id: str | None) -> Entry:
    """Return the backup called ``backup_id``, the newest one for None; never a log entry.

    Raises ConfigError for a name that is no backup's, and when there is no backup at all.
    """
    backups = _backups(found)
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
    before = [entry for entry in _backups(found) if entry.manifest.stop <= time]
    return before[-1] if before else choose(found, None)


def _told(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


# Changing


def add(target: Target, repo: Repository, manifest: Manifest, snapshots: Mapping[str, str]) -> None:
    """List a backup that is stored: its manifest, and stream names with their snapshot ids.

    Raises VerificationFailed when a snapshot is not there, or the backup that it builds upon. A run
    killed at any moment leaves the former catalogue or the new one.
    """
    new = Entry(manifest=manifest, snapshots=dict(snapshots))

    def change(document: Document, listing: Listing) -> Sequence[Entry]:
        there = {snapshot.snapshot_id for snapshot in listing.snapshots}
        absent = sorted(set(new.snapshots.values()) - there)
        if absent or not new.snapshots:
            raise VerificationFailed(
                f"Backup {new.backup_id} is not listed: its snapshot "
                f"{', '.join(absent) or '(none given)'} is not in the repository."
            )
        known = {entry.backup_id for entry in complete(document, listing)}
        if manifest.parent_id is not None and manifest.parent_id not in known:
            raise VerificationFailed(
                f"Backup {new.backup_id} is not listed: the backup {manifest.parent_id} that it "
                "builds upon is not in the catalogue."
            )
        return [*(e for e in document.entries if not _supersedes(new, e)), new]

    update(target, repo, change)


def _supersedes(new: Entry, old: Entry) -> bool:
    if new.backup_id == old.backup_id:
        return True
    same_parent = new.manifest.parent_id == old.manifest.parent_id
    return new.manifest.kind == old.manifest.kind == "log" and same_parent


def update(
    target: Target,
    repo: Repository,
    change: Callable[[Document, Listing], Sequence[Entry]],
    also: Sequence[str] = (),
    forget_now: bool = False,
) -> bool:
    """Replace the entries by what ``change`` makes of them, then forget what nobody needs.

    ``also`` are further snapshots to forget. It is done when ``FORGET_AT`` have come together, or
    with ``forget_now`` as soon as there is one that held a backup or a log; then True is returned.
    A young snapshot stays readable for some hours, so that a restore which has chosen it finds it.
    What cannot be forgotten now, since another run keeps the repository locked, is left to the
    next change.
    """
    with lock.hold(target, "catalogue", _LOCK_WAIT_SECONDS):
        listing = repo.listing()
        document = _heal(repo, listing)
        kept = tuple(change(document, listing))
        dropped = _dropped(document, kept, listing, also)
        new = Document(generation=document.generation + 1, entries=kept, dropped=dropped)
        _write(repo, new)
        # The former one stays, for who has just listed it and for the day this one is damaged.
        older = [snapshot.snapshot_id for snapshot in _generations(listing)[1:]]
        held = _unread(dropped, listing)
        going = [*held, *older]
        if len(going) >= FORGET_AT or (forget_now and held):
            return repo.forget(going)
        return False


def _heal(repo: Repository, listing: Listing) -> Document:
    """Return the document to go on from: the newest that can be read, a later number in any case.

    A damaged catalogue must not keep backups from being taken; verify tells of it.
    """
    newest = max((_generation(s) for s in listing.snapshots if TAG in s.tags), default=0)
    for snapshot in _generations(listing):
        try:
            text = repo.read_text(snapshot.snapshot_id, FILE)
        except CommandFailed:
            continue
        if _content(text) in snapshot.tags:
            return _parse(text).model_copy(update={"generation": newest})
    return Document(generation=newest, entries=())


def _dropped(
    document: Document, kept: Sequence[Entry], listing: Listing, also: Sequence[str]
) -> tuple[str, ...]:
    there = {snapshot.snapshot_id for snapshot in listing.snapshots}
    needed = {i for entry in kept for i in entry.snapshots.values()}
    former = [i for entry in document.entries for i in entry.snapshots.values()]
    going = dict.fromkeys([*document.dropped, *former, *also])
    return tuple(i for i in going if i in there and i not in needed)


def _unread(dropped: Sequence[str], listing: Listing) -> list[str]:
    """Return those that no restore can be about to read: a log entry is superseded each minute."""
    before = datetime.now(UTC) - timedelta(hours=READABLE_HOURS)
    old = {s.snapshot_id for s in listing.snapshots if s.time < before}
    return [snapshot_id for snapshot_id in dropped if snapshot_id in old]


def _write(repo: Repository, document: Document) -> None:
    text = document.model_dump_json() + "\n"
    repo.save_text(text, FILE, (TAG, f"{_GENERATION}{document.generation}", _content(text)))


# Verifying


def verify(target: Target, repo: Repository, progress: Progress) -> VerifyResult:
    """Read back every stored byte, record which backups are sound, name each backup that is hit."""
    repo = replace(repo)  # nothing that was read before counts
    with lock.hold(target, "verify"):
        try:
            found = inspect(repo, progress)
        except CommandFailed as error:
            found = Inspection(files_checked=0, damaged=(str(error),), unreadable={})
        problems = list(found.damaged)
        sound: list[str] = []
        try:
            listing = repo.listing()
            document = read(repo, listing)
            problems += missing(document, listing)
            more, sound = hits(complete(document, listing), found)
            problems += more
        except VerificationFailed as error:
            problems.append(str(error))
        except CommandFailed as error:
            problems += [f"the catalogue cannot be read: {error}"] if found.files_checked else []
        result = VerifyResult(files_checked=found.files_checked, problems=tuple(problems))
        status.note_verified(target, result, sound)
    return result


def missing(document: Document, listing: Listing) -> list[str]:
    """Return a sentence for each backup that has a manifest and lacks bytes, or its parent."""
    whole = {entry.backup_id for entry in complete(document, listing)}
    return [
        f"backup {entry.backup_id} has a manifest, but not all its snapshots or what it builds "
        "upon are there"
        for entry in document.entries
        if entry.backup_id not in whole
    ]


def hits(found: Sequence[Entry], inspected: Inspection) -> tuple[list[str], list[str]]:
    """Return a sentence for each backup that damage hits, and the ids of the sound ones."""
    problems: list[str] = []
    bad: set[str] = set()
    for entry in found:
        for name, snapshot_id in entry.snapshots.items():
            why = inspected.reason(snapshot_id)
            if why is not None:
                problems.append(f"backup {entry.backup_id}: {name} cannot be read: {why}")
                bad.add(entry.backup_id)
        if entry.manifest.parent_id in bad:
            bad.add(entry.backup_id)
    sound = [e.backup_id for e in _backups(found) if e.backup_id not in bad]
    return problems, sound


# Expiring: see dbops.expiry, named here so that engines need to know one module only.


def plan_expire(target: Target, repo: Repository, backup_id: str | None, keep_full: int) -> Plan:
    """Return the steps that expire one backup and what builds upon it, or what retention lets go.

    Raises Refused when that would leave no full backup, or none that was verified.
    """
    from dbops import expiry

    return expiry.plan(target, repo, backup_id, keep_full)


def expire_after(target: Target, repo: Repository, keep_full: int, progress: Progress) -> None:
    """Let retention act after a backup, and sweep what killed runs left behind.

    Tells ``progress`` when nothing may go; never raises Refused.
    """
    from dbops import expiry

    expiry.after_backup(target, repo, keep_full, progress)
