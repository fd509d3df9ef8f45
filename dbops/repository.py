"""The catalogue over a restic repository: which backups there are, how they build upon each other.

A backup is a manifest and the snapshots that hold its bytes. All manifests stand in one small
document, kept as a snapshot of its own that is superseded by each change; a backup is listed only
when its manifest is there *and* all its snapshots are. What is *not* here: restic's commands
(:mod:`dbops.restic`) and what an engine's streams hold.

Ids: a full backup ``20260102-030405F``, an incremental one ``<full id>_20260103-030405I``, a log
entry ``<anything>L``. ``parent_id`` of an incremental is the backup that it builds upon. A log
entry holds all log since its parent (since the oldest backup for None) and supersedes the former
entry with the same parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dbops.contract import Catalogue, Progress, RecoveryWindow, VerifyResult
from dbops.manifest import Kind, Manifest
from dbops.restic import Repository
from dbops.runner import Plan
from dbops.targets import Model, Target


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
    def repo_ssh_key(self) -> Path: ...
    @property
    def repo_known_hosts(self) -> Path: ...
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


@dataclass(frozen=True)
class Route:
    """How to restore: ``chain`` from the full backup on, oldest first, then ``log`` if any."""

    chain: tuple[Entry, ...]
    log: Entry | None


def open_repository(target: Target, opts: RepositoryOptions) -> Repository:
    """Return the repository of a cluster, to write on its host and read-only elsewhere."""
    raise NotImplementedError


def new_id(kind: Kind, stop: datetime, parent_id: str | None = None) -> str:
    """Return the id for a backup of ``kind``; ``parent_id`` is needed for an incremental one."""
    raise NotImplementedError


def entries(repo: Repository) -> tuple[Entry, ...]:
    """Return every complete backup and log entry, by their stop, oldest first.

    Raises VerificationFailed when the catalogue itself is damaged.
    """
    raise NotImplementedError


def catalogue(repo: Repository) -> Catalogue:
    """Return every complete backup, oldest first, and the times to which a restore can go.

    Log entries are not listed; they only widen the window.
    """
    raise NotImplementedError


def window(found: Sequence[Entry]) -> RecoveryWindow | None:
    """Return from when (the oldest backup's stop) until when (the newest log's) restores can go."""
    raise NotImplementedError


def choose(found: Sequence[Entry], backup_id: str | None) -> Entry:
    """Return the backup called ``backup_id``, the newest one for None; never a log entry.

    Raises ConfigError for a name that is no backup's, and when there is no backup at all.
    """
    raise NotImplementedError


def chain(found: Sequence[Entry], entry: Entry) -> tuple[Entry, ...]:
    """Return the full backup and all that ``entry`` builds upon, oldest first, ``entry`` last."""
    raise NotImplementedError


def log_of(found: Sequence[Entry], entry: Entry) -> Entry | None:
    """Return the log entry that goes on from ``entry``: its own, else the one without a parent."""
    raise NotImplementedError


def route(
    found: Sequence[Entry], backup_id: str | None = None, time: datetime | None = None
) -> Route:
    """Return what to restore for a backup, a time, or neither (the newest that there is).

    A ``backup_id`` alone still carries its log: leave it out to stop at the backup's own end.
    Raises ConfigError for an unknown backup, Refused when the log does not reach ``time`` or the
    time is before the (chosen) backup's end.
    """
    raise NotImplementedError


def add(
    target: Target, repo: Repository, manifest: Manifest, snapshots: Mapping[str, str]
) -> None:
    """List a backup that is stored: its manifest, and stream names with their snapshot ids.

    Raises VerificationFailed when a snapshot is not there, or the backup that it builds upon. A run
    killed at any moment leaves the former catalogue or the new one.
    """
    raise NotImplementedError


def plan_expire(target: Target, repo: Repository, backup_id: str | None, keep_full: int) -> Plan:
    """Return the steps that expire one backup and what builds upon it, or what retention lets go.

    Raises Refused when that would leave no full backup, or none that was verified.
    """
    raise NotImplementedError


def expire_after(target: Target, repo: Repository, keep_full: int, progress: Progress) -> None:
    """Let retention act after a backup, and sweep what killed runs left behind.

    Tells ``progress`` when nothing may go; never raises Refused.
    """
    raise NotImplementedError


def verify(target: Target, repo: Repository, progress: Progress) -> VerifyResult:
    """Read back every stored byte, record which backups are sound, name each backup that is hit."""
    raise NotImplementedError
