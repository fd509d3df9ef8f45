"""restic: one encrypted repository for the engines that have no backup tool with one of its own.

What is here: every restic command that the kit runs, what it prints, and its errors in one clear
sentence. What is *not* here: what the snapshots mean; see :mod:`dbops.repository`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dbops.contract import Progress, VerifyResult
from dbops.runner import Command, Completed


@dataclass(frozen=True)
class Saved:
    """What one run stored: the snapshot, what was read and what it took in the repository."""

    snapshot_id: str
    bytes_read: int
    bytes_stored: int


@dataclass(frozen=True)
class Snapshot:
    """One snapshot as listed. ``snapshot_id`` has all 64 digits; ``time`` is when it was begun."""

    snapshot_id: str
    time: datetime
    tags: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Repository:
    """One restic repository, here (a path) or elsewhere (``sftp:account@host:/path``).

    ``password_file`` holds the passphrase, mode 0600. ``user`` is the account that restic runs as
    when dbops is root. ``cache_dir`` None keeps no cache: right for a repository on this host.
    ``ssh_key`` and ``known_hosts`` belong to SFTP. ``read_only`` takes no lock and refuses whatever
    writes. ``compression`` is restic's: ``auto``, ``off`` or ``max``.
    """

    location: str
    password_file: Path
    user: str | None = None
    cache_dir: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    read_only: bool = False
    compression: str = "auto"

    def init(self) -> bool:
        """Make the repository; return False when it is there already and opens."""
        raise NotImplementedError

    def exists(self) -> bool:
        """Tell whether a repository is there; ConfigError when the passphrase does not open it."""
        raise NotImplementedError

    def version(self) -> str:
        """Return restic's version, such as ``0.14.0``, for manifests."""
        raise NotImplementedError

    def snapshots(self, tag: str | None = None) -> tuple[Snapshot, ...]:
        """Return every snapshot, oldest first, or those that carry ``tag``."""
        raise NotImplementedError

    def save_stream(
        self,
        producer: Command,
        name: str,
        tags: Sequence[str] = (),
        progress: Progress = lambda text: None,
    ) -> Saved:
        """Store what ``producer`` writes on its standard output as the file ``name``.

        restic is told of the end only when the producer has ended with a good status, so a torn
        stream makes no snapshot. Raises CommandFailed with the words of whichever failed.
        """
        raise NotImplementedError

    def save_text(self, text: str, name: str, tags: Sequence[str] = ()) -> Saved:
        """Store ``text`` in UTF-8 as the file ``name``."""
        raise NotImplementedError

    def save_paths(
        self,
        paths: Sequence[Path],
        tags: Sequence[str] = (),
        progress: Progress = lambda text: None,
    ) -> Saved:
        """Store files and folders under their own absolute paths; a file unread fails it all."""
        raise NotImplementedError

    def dump(
        self,
        snapshot_id: str,
        name: str,
        consumer: Command,
        progress: Progress = lambda text: None,
    ) -> Completed:
        """Feed the stored file ``name`` to the standard input of ``consumer``; return what it said.

        ``name`` is that of :meth:`save_stream`, or an absolute path of :meth:`save_paths`. The
        consumer is told of the end only when restic has read all of it soundly, and is killed
        otherwise. Raises CommandFailed with the words of whichever failed.
        """
        raise NotImplementedError

    def read_text(self, snapshot_id: str, name: str) -> str:
        """Return the stored file ``name`` as text."""
        raise NotImplementedError

    def restore(
        self, snapshot_id: str, folder: Path, progress: Progress = lambda text: None
    ) -> None:
        """Write everything in a snapshot below ``folder``, as root with its owners and modes.

        A file that was saved as ``/a/b`` comes to ``folder/a/b``, a stream to ``folder/name``.
        """
        raise NotImplementedError

    def forget(self, snapshot_ids: Iterable[str]) -> bool:
        """Let go of snapshots; those gone already are no error. Their data stay until a prune.

        Returns False, having changed nothing, when another run keeps the repository locked.
        """
        raise NotImplementedError

    def prune(self, progress: Progress = lambda text: None) -> None:
        """Remove what no snapshot needs. Raises Busy when another run keeps it locked."""
        raise NotImplementedError

    def check(self, progress: Progress = lambda text: None) -> VerifyResult:
        """Read back every stored byte. Each problem names the file and the snapshots it hits."""
        raise NotImplementedError
