"""A backup into restic, step by step: the frame conducts, the engine answers.

An engine answers by a :class:`~.copying.Copying`, a record of its own functions. The frame alone
decides what a backup builds upon, that what cannot be trusted is not listed, what is listed and yet
fails the attempt, and that space which is due is given back whatever is wrong with the new backup.
The caller holds the cluster's lock of backups. What is *not* here: PostgreSQL, whose repository is
pgBackRest's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic

from dbops import lock, status
from dbops.backup.copying import Copying, Facts, Log, S, Stored, Stream, describe
from dbops.contract import BackupRequest, Progress
from dbops.errors import Busy, ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Kind, Manifest
from dbops.options import require_part
from dbops.repository import catalogue, expiry, plausible, routes
from dbops.repository.plausible import Size
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.targets import Target

LOG_WORK = "log backup"
_LOG_WAIT_SECONDS = 180.0


def take(
    target: Target, request: BackupRequest, progress: Progress, copying: Copying[S]
) -> Manifest:
    """Take one backup, list it with its manifest, and let retention act; or ship the log.

    A stream that cannot be trusted is not listed: its error is raised. A backup that is listed and
    lacks its fingerprint or its log, or is suspiciously small, raises that.
    """
    require_part(target, "repository")
    _require_kind(target, request.kind, copying)
    with status.recorded(target, request.kind) as record:
        taking = _Taking(target, copying, copying.store.open(target, remember=True), progress)
        manifest = taking.log() if request.kind == "log" else taking.backup(request)
        record(manifest)
    return manifest


def _require_kind(target: Target, asked: Kind, copying: Copying[S]) -> None:
    if asked in copying.kinds or (asked == "log" and copying.log is not None):
        return
    instead = " or ".join(f"{'an' if one[0] == 'i' else 'a'} {one} one" for one in copying.kinds)
    raise ConfigError(f"There are no {asked} backups of {target.cluster!r}: take {instead}.")


@dataclass(frozen=True)
class _Taking(Generic[S]):
    """One attempt. ``reasons`` are why it fails although its backup is listed."""

    target: Target
    copying: Copying[S]
    repo: Repository
    progress: Progress
    reasons: list[DbopsError] = field(default_factory=list)

    def backup(self, request: BackupRequest) -> Manifest:
        with ThreadPoolExecutor(max_workers=1) as beside:
            reading = beside.submit(catalogue.known, self.repo, self.progress)
            source, parent = self.basis(request.kind, reading.result)
            with self.copying.open_stream(self.repo, source, parent, self.progress) as stream:
                new = _asked(self.store(source, parent, stream), request)
                found = reading.result()
                ended = self.ended(stream, found, request.fingerprint)
                if request.fingerprint:
                    new = self.with_fingerprint(source, new)
        forgotten = self.listed(new, ended, routes.without_logs(found))
        if new.manifest.kind == "full":
            self.sized(new.manifest, found)
        self.finish(new.manifest, forgotten)
        return new.manifest

    def basis(self, kind: Kind, known: Callable[[], Sequence[Entry]]) -> tuple[S, Entry | None]:
        """Return whom to copy from, and the backup to build upon, None for a full one.

        Without a parent a full backup is taken, so that a switchover leaves no gap until the next
        planned one.
        """
        if kind == "full" or self.copying.builds_on is None:
            return self.copying.source(None, self.progress), None
        found = routes.without_logs(known())
        source = self.copying.source(found[-1] if found else None, self.progress)
        parent = self.copying.builds_on(source, found)
        if isinstance(parent, str):
            self.progress(f"{parent}, so a full backup is taken")
            return source, None
        return source, parent

    def store(self, source: S, parent: Entry | None, stream: Stream) -> Entry:
        kind: Kind = "full" if parent is None else "incremental"
        self.progress(f"{kind} backup from {source.member}")
        lines: list[str] = []

        def tell(line: str) -> None:
            lines.append(line)
            self.progress(line)

        tags = (kind, source.member)
        saved = self.repo.save_stream(stream.producer, stream.name, tags, tell, stream.compression)
        facts = stream.finished(saved, lines)
        parent_id = parent.backup_id if parent else None
        backup_id = routes.new_id(kind, facts.stop, parent_id)
        plausible.require_content(Size(backup_id, facts.bytes_read))
        about = Stored(kind, backup_id, parent_id, source.member, saved.bytes_stored)
        return self.entry(about, facts, {stream.name: saved.snapshot_id})

    def entry(self, about: Stored, facts: Facts, snapshots: Mapping[str, str]) -> Entry:
        manifest = describe(self.target, about, facts, self.repo.version())
        return Entry(manifest=manifest, snapshots=dict(snapshots))

    def ended(self, stream: Stream, found: Sequence[Entry], at_once: bool) -> list[Entry]:
        """Store the log that the backup ends, and list it ``at_once``, or return it."""
        log = stream.ends_log(found)
        if log is None:
            return []
        if at_once:
            # A fingerprint takes its time: what ends a run meanwhile must not cost this log.
            catalogue.add(self.target, self.repo, log)
            return []
        return [log]

    def with_fingerprint(self, source: S, new: Entry) -> Entry:
        kept = f"Backup {new.backup_id} is complete and kept, but without a fingerprint: "
        with self.noted(kept):
            found = self.copying.fingerprint(source, new.manifest, self.progress)
            manifest = new.manifest.model_copy(update={"fingerprints": found})
            return new.model_copy(update={"manifest": manifest})
        return new

    def listed(self, new: Entry, ended: Sequence[Entry], found: Sequence[Entry]) -> bool:
        """List a backup with the log up to now: in one go, unless a log backup is running.

        Returns whether retention let something go.
        """
        if self.copying.log is None:
            return self.add(*ended, new)
        try:
            with lock.hold(self.target, LOG_WORK):
                # Not of the new one alone: with nothing known the catalogue may be damaged, and
                # the log of older backups must stay.
                entry, log = self.stored_log(self.copying.log, found)
                forgotten = self.add(*ended, new, entry)
        except Busy:
            forgotten = self.add(*ended, new)
            with self.noted(), lock.hold(self.target, LOG_WORK, _LOG_WAIT_SECONDS):
                self.log()
        except DbopsError as error:
            catalogue.add(self.target, self.repo, *ended, new)
            self.reasons.append(error)
            return False
        else:
            with self.noted():
                log.require_whole(new.manifest)
        return forgotten

    def add(self, *new: Entry) -> bool:
        kept = self.copying.store.kept(self.target)
        return expiry.add(self.target, self.repo, new, kept, self.progress)

    def log(self) -> Manifest:
        """Store and list the log up to now; then VerificationFailed tells of a gap in it."""
        assert self.copying.log is not None
        found = routes.without_logs(catalogue.entries(self.repo))
        entry, log = self.stored_log(self.copying.log, found)
        catalogue.add(self.target, self.repo, entry)
        self.note()
        if found:
            log.require_whole(found[-1].manifest)
        return entry.manifest

    def stored_log(
        self,
        store: Callable[[Repository, Sequence[Entry], Progress], Log],
        backups: Sequence[Entry],
    ) -> tuple[Entry, Log]:
        backup_id = routes.new_id("log", datetime.now(UTC))
        log = store(self.repo, backups, self.progress)
        about = Stored("log", backup_id, None, log.member, log.bytes_stored)
        return self.entry(about, log.facts, log.snapshots), log

    def note(self) -> None:
        expiry.note(self.target, self.repo)

    def sized(self, new: Manifest, found: Sequence[Entry]) -> None:
        """Note that a full backup is suspect; of an automatic one it is only told.

        A play or a log backup goes on then: ``dbops check`` and an alert say it until it is over.
        """
        words = plausible.doubt([*routes.fulls(found), routes.full(new)])
        if words is None:
            return
        if new.automatic:
            self.progress(words)
        else:
            self.reasons.append(VerificationFailed(words))

    def finish(self, new: Manifest, forgotten: bool) -> None:
        """Clear away what is due, whatever is wrong with the new backup; then raise what is."""
        with self.noted():
            self.note()
        with self.noted():
            self.copying.tidy(new, self.progress)
        with self.noted():
            expiry.give_back(self.target, self.repo, forgotten, self.progress)
        if self.reasons:
            raise type(self.reasons[0])(" ".join(str(one) for one in self.reasons))

    @contextmanager
    def noted(self, words: str = "") -> Iterator[None]:
        """Note why the attempt fails, and go on."""
        try:
            yield
        except DbopsError as error:
            self.reasons.append(type(error)(f"{words}{error}"))


def _asked(new: Entry, request: BackupRequest) -> Entry:
    """Return an entry that says who wanted it, and whether its size was accepted."""
    changes = {"automatic": request.automatic, "accepted": request.accepted}
    return new.model_copy(update={"manifest": new.manifest.model_copy(update=changes)})
