"""A repository in memory, and the fake engine's answers to a backup; the producers are real.

What restic does with the frame is seen with real servers, in ``tests/integration``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dbops.backup.copying import Copying, Facts, Log, Stream
from dbops.backup.store import Store
from dbops.contract import Progress
from dbops.errors import CommandFailed
from dbops.manifest import Fingerprint, Manifest
from dbops.repository.restic import Compression, Repository, Saved
from dbops.repository.restic_output import Listing, Snapshot
from dbops.repository.routes import Entry
from dbops.runner import Command, capture
from dbops.targets import Target
from tests.contract import fake_engine


@dataclass(frozen=True)
class InMemory(Repository):
    """A repository that is gone with the test. ``done`` says what was asked for, in order.

    What is damaged is None.
    """

    kept: dict[str, tuple[Snapshot, str | None]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def version(self) -> str:
        return "1"

    def listing(self, tag: str | None = None) -> Listing:
        return Listing(tuple(snapshot for snapshot, _ in self.kept.values()), ())

    def _keep(self, name: str, text: str, tags: Sequence[str]) -> Saved:
        snapshot_id = f"{len(self.done):064x}"
        self.done.append(f"store {name}")
        snapshot = Snapshot(snapshot_id, datetime.now(UTC), tuple(tags), (name,))
        self.kept[snapshot_id] = snapshot, text
        return Saved(snapshot_id, len(text), len(text))

    def save_stream(
        self,
        producer: Command,
        name: str,
        tags: Sequence[str] = (),
        progress: Progress = lambda text: None,
        compression: Compression = "auto",
    ) -> Saved:
        said = capture(producer)
        for line in said.stderr.splitlines():
            progress(line)
        if said.status != 0:
            raise CommandFailed(said.stderr.strip())
        return self._keep(name, said.stdout, (*tags, compression))

    def save_text(self, text: str, name: str, tags: Sequence[str] = ()) -> Saved:
        return self._keep(name, text, tags)

    def read_text(self, snapshot_id: str, name: str) -> str:
        text = self.kept[snapshot_id][1]
        if text is None:
            raise CommandFailed("A pack is damaged.")
        return text

    def forget(self, snapshot_ids: Iterable[str]) -> bool:
        for snapshot_id in snapshot_ids:
            self.kept.pop(snapshot_id, None)
        self.done.append("forget")
        return True

    def prune(self, progress: Progress = lambda text: None) -> None:
        self.done.append("prune")


@dataclass(frozen=True)
class Shelf(Store[Any]):
    """The store of one cluster, whose repository is given."""

    repo: InMemory = field(default_factory=lambda: InMemory("nowhere", Path("none")))

    def open(self, target: Target, remember: bool = False) -> Repository:
        return self.repo


@dataclass(frozen=True)
class Source:
    member: str


@dataclass
class Fake:
    """A fake engine's data and its answers. ``clock`` goes on a minute with each backup."""

    target: Target
    keep_full: int = 2
    period_seconds: float = 60.0
    content: str = "0123456789"
    clock: datetime = fake_engine.NOON
    told: list[str] = field(default_factory=list)
    repo: InMemory = field(default_factory=lambda: InMemory("nowhere", Path("none")))

    @property
    def options(self) -> SimpleNamespace:
        """What the store reads of a target: a full backup a minute, as the clock goes."""
        seconds = {"full": self.period_seconds}
        return SimpleNamespace(keep_full=self.keep_full, schedule_interval_seconds=seconds)

    @property
    def answers(self) -> Copying[Source]:
        """Answers that are all good, of an engine whose log runs on."""
        return Copying(
            store=Shelf(lambda target: self.options, self.repo),
            kinds=("full", "incremental"),
            source=lambda newest, progress: Source(newest.manifest.member if newest else "db1"),
            builds_on=lambda source, found: found[-1] if found else "there is none",
            open_stream=self.stream,
            fingerprint=self.fingerprint,
            log=self.log,
            tidy=lambda manifest, progress: self.told.append(f"tidy {manifest.backup_id}"),
        )

    def facts(self, size: int) -> Facts:
        stop = self.clock + timedelta(seconds=10)
        return Facts("1", self.clock, stop, "1", "2", size)

    @contextmanager
    def stream(
        self, repo: Repository, source: Source, parent: Entry | None, progress: Progress
    ) -> Iterator[Stream]:
        self.clock += timedelta(minutes=1)
        script = 'printf %s "$1"; echo "all of it" >&2'
        producer = Command(("/bin/sh", "-c", script, "sh", self.content))

        def finished(saved: Saved, lines: Sequence[str]) -> Facts:
            assert list(lines) == ["all of it"]
            return self.facts(saved.bytes_read)

        try:
            yield Stream("base", producer, finished)
        finally:
            self.told.append("stream is over")

    def fingerprint(
        self, source: Source, manifest: Manifest, progress: Progress
    ) -> tuple[Fingerprint, ...]:
        self.told.append("fingerprint")
        return tuple(fake_engine.fingerprint(self.target, progress))

    def log(self, repo: Repository, backups: Sequence[Entry], progress: Progress) -> Log:
        self.told.append(f"log of {len(backups)}")
        saved = repo.save_text("log", "log")

        def require_whole(manifest: Manifest) -> None:
            self.told.append(f"whole from {manifest.backup_id}")

        facts = self.facts(saved.bytes_read)
        return Log("db1", facts, {"log": saved.snapshot_id}, saved.bytes_stored, require_whole)
