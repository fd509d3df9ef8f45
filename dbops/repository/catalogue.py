"""The catalogue over a restic repository: which backups there are, how they build upon each other.

A backup is a manifest and the snapshots that hold its bytes. All manifests stand in one small
document, kept as a snapshot of its own that is superseded by each change; a backup is listed only
when its manifest is there *and* all its snapshots are. What is *not* here: restic's commands
(:mod:`.restic`), choosing what to restore (:mod:`.routes`), letting backups go (:mod:`.expiry`) and
what an engine's streams hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from dbops import lock, status
from dbops.contract import Backup, Catalogue, Progress, VerifyResult
from dbops.errors import CommandFailed, VerificationFailed
from dbops.options import ResticOptions
from dbops.repository.plausible import doubt
from dbops.repository.restic import Repository
from dbops.repository.restic_check import Inspection, inspect
from dbops.repository.restic_memory import NAME as MEMORY
from dbops.repository.restic_output import Listing, Snapshot
from dbops.repository.routes import Entry, fulls, window, without_logs
from dbops.targets import Model, Target

TAG = "dbops-catalogue"
FILE = "catalogue.json"
_GENERATION = "generation-"
_CONTENT = "content-"
_LOCK_WAIT_SECONDS = 120.0
READABLE_HOURS = 3.0
READABLE_FULL_HOURS = 0.5
"""How long what was superseded can be read: a log, which each minute's replaces, and a full backup,
of which only a crash loop drops young ones, and then many."""
FORGET_AT = 50


class Document(Model):
    """The catalogue as it is stored. ``dropped`` are snapshots that may be forgotten by now.

    ``unsure_before`` is when a damaged catalogue was last replaced: an older snapshot that no entry
    knows may be of a backup whose manifest was lost.
    """

    schema_version: Literal[1] = 1
    generation: int
    entries: tuple[Entry, ...]
    dropped: tuple[str, ...] = ()
    unsure_before: datetime | None = None


@dataclass(frozen=True)
class Change:
    """What becomes of a catalogue: its entries, and further snapshots to forget.

    ``forget_now`` is for a change after which space is to be given back.
    """

    entries: Sequence[Entry]
    lost: Sequence[str] = ()
    forget_now: bool = False


def open_repository(target: Target, opts: ResticOptions, remember: bool = False) -> Repository:
    """Return the repository of a cluster, to write on its host and read-only elsewhere.

    With ``remember`` what the last such run listed need not be listed again: for backups, which
    are taken each minute. A catalogue that is damaged meanwhile is then replaced by a whole one.
    """
    if opts.repo_host is None:
        return Repository(
            str(opts.repo_path),
            opts.repo_password_file,
            user=opts.repo_user,
            memory_file=target.state_dir / MEMORY if remember else None,
        )
    return Repository(
        f"sftp:{opts.repo_user}@{opts.repo_host}:{opts.repo_path}",
        opts.repo_password_file,
        ssh_key=opts.repo_ssh_key,
        known_hosts=opts.repo_known_hosts,
        read_only=True,
    )


# Reading


def entries(repo: Repository) -> tuple[Entry, ...]:
    """Return every complete backup and log entry, by their stop, oldest first.

    Raises VerificationFailed when the catalogue itself is damaged.
    """
    listing = repo.listing()
    return complete(read(repo, listing), listing)


def known(repo: Repository, progress: Progress) -> tuple[Entry, ...]:
    """Return the entries for a full backup to come; none, and a word, when they are damaged.

    That backup then begins a new catalogue.
    """
    try:
        return entries(repo)
    except VerificationFailed as error:
        progress(str(error))
        return ()


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
    return Catalogue(
        backups=tuple(_backup(entry) for entry in found),
        window=window(found),
        doubt=doubt(fulls(found)),
    )


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


# Changing


def add(target: Target, repo: Repository, *new: Entry) -> None:
    """List backups that are stored, all at once, a parent before what builds upon it.

    Raises VerificationFailed when a snapshot is not there, or the backup that one builds upon. A
    run killed at any moment leaves the former catalogue or the new one.
    """

    update(target, repo, lambda document, listing: Change(with_new(document, listing, new)))


def with_new(document: Document, listing: Listing, new: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a document and ``new``; VerificationFailed as for :func:`add`."""
    there = {snapshot.snapshot_id for snapshot in listing.snapshots}
    known = {entry.backup_id for entry in complete(document, listing)}
    kept = list(document.entries)
    for one in new:
        _require_whole(one, there, known)
        kept = [*(entry for entry in kept if not _supersedes(one, entry)), one]
        known.add(one.backup_id)
    return kept


def _require_whole(new: Entry, there: Collection[str], known: Collection[str]) -> None:
    absent = sorted(set(new.snapshots.values()).difference(there))
    if absent or not new.snapshots:
        raise VerificationFailed(
            f"Backup {new.backup_id} is not listed: its snapshot "
            f"{', '.join(absent) or '(none given)'} is not in the repository."
        )
    parent = new.manifest.parent_id
    if parent is not None and parent not in known:
        raise VerificationFailed(
            f"Backup {new.backup_id} is not listed: the backup {parent} that it builds upon is not "
            "in the catalogue."
        )


def _supersedes(new: Entry, old: Entry) -> bool:
    if new.backup_id == old.backup_id:
        return True
    same_parent = new.manifest.parent_id == old.manifest.parent_id
    return new.manifest.kind == old.manifest.kind == "log" and same_parent


def update(target: Target, repo: Repository, change: Callable[[Document, Listing], Change]) -> bool:
    """Replace the catalogue by what ``change`` makes of it, then forget what nobody needs.

    It is done when ``FORGET_AT`` have come together, or with ``forget_now`` as soon as there is one
    that held a backup or a log; then True is returned. A young snapshot stays readable for some
    hours, so that a restore which has chosen it finds it. What cannot be forgotten now, since
    another run keeps the repository locked, is left to the next change.
    """
    with lock.hold(target, "catalogue", _LOCK_WAIT_SECONDS):
        listing = repo.listing()
        document = _heal(repo, listing)
        made = change(document, listing)
        kept = tuple(made.entries)
        dropped = _dropped(document, kept, listing, made.lost)
        changes = {"generation": document.generation + 1, "entries": kept, "dropped": dropped}
        _write(repo, document.model_copy(update=changes))
        # The former one stays, for who has just listed it and for the day this one is damaged.
        older = [snapshot.snapshot_id for snapshot in _generations(listing)[1:]]
        held = _unread(dropped, listing)
        going = [*held, *older]
        if len(going) >= FORGET_AT or (made.forget_now and held):
            return repo.forget(going)
        return False


def _heal(repo: Repository, listing: Listing) -> Document:
    """Return the document to go on from: the newest that can be read, a later number in any case.

    A damaged catalogue must not keep backups from being taken; verify tells of it. Nor may what it
    alone knew be taken for something that nobody needs.
    """
    newest = max((_generation(s) for s in listing.snapshots if TAG in s.tags), default=0)
    changes: dict[str, object] = {"generation": newest}
    if listing.unreadable:
        changes["unsure_before"] = datetime.now(UTC)
    for snapshot in _generations(listing):
        try:
            text = repo.read_text(snapshot.snapshot_id, FILE)
        except CommandFailed:
            changes["unsure_before"] = datetime.now(UTC)
            continue
        if _content(text) in snapshot.tags:
            return _parse(text).model_copy(update=changes)
    return Document(generation=newest, entries=()).model_copy(update=changes)


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
    now = datetime.now(UTC)
    old = {s.snapshot_id for s in listing.snapshots if s.time < now - _readable(s)}
    return [snapshot_id for snapshot_id in dropped if snapshot_id in old]


def _readable(snapshot: Snapshot) -> timedelta:
    full = "full" in snapshot.tags  # as the frame of backups stores it
    return timedelta(hours=READABLE_FULL_HOURS if full else READABLE_HOURS)


def _write(repo: Repository, document: Document) -> None:
    # Left out where there is none, as versions before it did not know it.
    without = {"unsure_before"} if document.unsure_before is None else None
    text = document.model_dump_json(exclude=without) + "\n"
    repo.save_text(text, FILE, (TAG, f"{_GENERATION}{document.generation}", _content(text)))


# Verifying


def verify(target: Target, repo: Repository, progress: Progress) -> VerifyResult:
    """Read back every stored byte, record which backups are sound, name each backup that is hit."""
    repo = replace(repo, memory_file=None)  # nothing that was read before counts
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
    sound = [e.backup_id for e in without_logs(found) if e.backup_id not in bad]
    return problems, sound
