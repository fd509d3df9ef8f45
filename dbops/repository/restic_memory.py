"""What was read of a restic repository: its snapshots never change, so none is read twice.

restic takes half a second of processor time to open a repository, whatever it is then asked. A run
that takes a backup each minute therefore keeps what it knows for the next run, if told where. What
a restore, a check or a verification reads is always the repository itself. What is *not* here:
reading (:mod:`.restic`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from dbops import files
from dbops.errors import ConfigError
from dbops.repository.restic_output import Listing, Snapshot
from dbops.targets import Model

NAME = "repository-memory.json"
_TEXTS_KEPT = 2

Stamps = dict[str, tuple[int, int]]


class _Kept(Model):
    """What lies in the file: the listing, and the newest texts by snapshot and name."""

    schema_version: Literal[1] = 1
    repository: str
    stamps: Stamps
    listing: Listing
    texts: tuple[tuple[str, str, str], ...]


@dataclass
class Memory:
    """What is known of the repository in ``folder``; nothing but texts for one that is elsewhere.

    ``stamps`` are the sizes and times of the snapshots' files when ``listing`` was made: when they
    are no longer the same, it is made anew. ``path`` is where it is kept for the next run.
    """

    folder: Path | None
    path: Path | None = None
    stamps: Stamps = field(default_factory=dict)
    listing: Listing | None = None
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or self.folder is None:
            return
        try:
            kept = _Kept.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ValidationError):
            return
        if kept.repository == str(self.folder):
            self.stamps, self.listing = kept.stamps, kept.listing
            self.texts = {(snapshot, name): text for snapshot, name, text in kept.texts}

    def listed(self, make: Callable[[], Listing]) -> Listing:
        """Return the listing, made anew by ``make`` when a snapshot came, went or was changed."""
        stamps = self._look()
        if self.listing is None or self.stamps != stamps:
            self._learn(make(), stamps)
        assert self.listing is not None
        return self.listing

    def note(self, snapshot: Snapshot) -> None:
        """Add a snapshot of our own to the listing, if nothing else has changed meanwhile."""
        stamps = self._look()
        others = {name: stamp for name, stamp in stamps.items() if name != snapshot.snapshot_id}
        if self.listing is not None and self.stamps == others and stamps != others:
            snapshots = (*self.listing.snapshots, snapshot)
            self._learn(Listing(snapshots, self.listing.unreadable), stamps)

    def forget(self, gone: Iterable[str]) -> None:
        """Take snapshots out of the listing, if nothing else has changed meanwhile."""
        going, stamps = set(gone), self._look()
        left = {name: stamp for name, stamp in self.stamps.items() if name not in going}
        if self.listing is not None and stamps == left:
            snapshots = tuple(s for s in self.listing.snapshots if s.snapshot_id not in going)
            self._learn(Listing(snapshots, self.listing.unreadable), stamps)

    def read(self, snapshot_id: str, name: str, make: Callable[[], str]) -> str:
        """Return a stored text, read by ``make`` unless it is known."""
        if (snapshot_id, name) not in self.texts:
            self.write(snapshot_id, name, make())
        return self.texts[snapshot_id, name]

    def write(self, snapshot_id: str, name: str, text: str) -> None:
        """Note what a snapshot holds as the file ``name``."""
        self.texts[snapshot_id, name] = text
        self._keep()

    def _look(self) -> Stamps:
        """Return the snapshots' files, with what would tell of a change."""
        found = {}
        for path in (self.folder / "snapshots").glob("*") if self.folder else ():
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            found[path.name] = about.st_size, about.st_mtime_ns
        return found

    def _learn(self, listing: Listing, stamps: Stamps) -> None:
        self.listing, self.stamps = listing, stamps
        self._keep()

    def _keep(self) -> None:
        """Write it down for the next run; one that cannot be written is made anew there."""
        if self.path is None or self.folder is None or self.listing is None:
            return
        newest = list(self.texts.items())[-_TEXTS_KEPT:]
        kept = _Kept(
            repository=str(self.folder),
            stamps=self.stamps,
            listing=self.listing,
            texts=tuple((snapshot, name, text) for (snapshot, name), text in newest),
        )
        try:
            files.write(self.path, kept.model_dump_json() + "\n", shared=True)
        except ConfigError:
            self.path = None
