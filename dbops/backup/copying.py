"""What a backup asks an engine: a record of typed functions, and the small ones that they return.

What is *not* here: when each is asked, and what is made of the answers (:mod:`.take`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import dbops
from dbops.backup.store import Store
from dbops.contract import Progress
from dbops.manifest import Fingerprint, Kind, Manifest
from dbops.repository.restic import Compression, Repository, Saved
from dbops.repository.routes import Entry
from dbops.runner import Command
from dbops.targets import Target


class Source(Protocol):
    """Whom to copy from. The engine's own, handed back to its functions."""

    @property
    def member(self) -> str: ...


S = TypeVar("S", bound=Source)


@dataclass(frozen=True)
class Facts:
    """What is known of a backup or a log once it is stored; the points are the engine's own."""

    version: str
    start: datetime
    stop: datetime
    start_point: str
    stop_point: str
    bytes_read: int


class Stored(NamedTuple):
    """What the frame knows of a backup or a log that is stored."""

    kind: Kind
    backup_id: str
    parent_id: str | None
    member: str
    bytes_stored: int


def describe(target: Target, about: Stored, facts: Facts, tool_version: str) -> Manifest:
    """Return the manifest of what is stored, without a fingerprint."""
    return Manifest.model_validate(
        {
            "engine": target.engine,
            "cluster": target.cluster,
            **about._asdict(),
            **vars(facts),
            "encrypted": True,
            "tool": "restic",
            "tool_version": tool_version,
            "dbops_version": dbops.__version__,
        }
    )


@dataclass(frozen=True)
class Stream:
    """A backup on its way: ``producer`` writes it, and it is stored under ``name``.

    ``finished`` is given what was stored and the producer's lines, and raises VerificationFailed
    when it is not whole. ``ends_log`` is given the backups before this one, and stores what is left
    of the log that ends with this one. It is not listed yet; None says that nothing is left, or
    that the log runs on.
    """

    name: str
    producer: Command
    finished: Callable[[Saved, Sequence[str]], Facts]
    ends_log: Callable[[Sequence[Entry]], Entry | None] = lambda found: None
    compression: Compression = "off"


@dataclass(frozen=True)
class Log:
    """The log as it is stored, not yet listed.

    ``require_whole`` raises VerificationFailed when it does not go on from a backup without a gap.
    """

    member: str
    facts: Facts
    snapshots: Mapping[str, str]
    bytes_stored: int
    require_whole: Callable[[Manifest], None]


def _nothing(manifest: Manifest, progress: Progress) -> None:
    """Tidy nothing."""


@dataclass(frozen=True)
class Copying(Generic[S]):
    """What the frame asks an engine whose repository is restic; each raises a DbopsError.

    ``kinds`` are the backups that can be asked for. ``source`` returns whom to copy; to build upon
    the newest backup it is given that one, and prefers its member. ``builds_on`` returns the backup
    to build upon, or why a full one is to be taken; it is None where all are full. ``open_stream``
    yields the stream; its block is left after the fingerprint. ``fingerprint`` returns the content
    at the backup's own point or a later one. ``log`` stores the log since the oldest of the backups
    that it is given, or all of it for none; it is None where no log runs on through all backups.
    ``tidy`` removes what is kept outside the repository until a backup is listed.
    """

    store: Store[Any]
    kinds: tuple[Kind, ...]
    source: Callable[[Entry | None, Progress], S]
    open_stream: Callable[[Repository, S, Entry | None, Progress], AbstractContextManager[Stream]]
    fingerprint: Callable[[S, Manifest, Progress], tuple[Fingerprint, ...]]
    builds_on: Callable[[S, Sequence[Entry]], Entry | str] | None = None
    log: Callable[[Repository, Sequence[Entry], Progress], Log] | None = None
    tidy: Callable[[Manifest, Progress], None] = _nothing
