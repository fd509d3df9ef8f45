"""Taking a full backup: a new base on the hidden replica, stored, checked and fingerprinted.

A log belongs to one full backup here and ends with the next, so log backups keep a function of
their own. What is *not* here: the order of a full backup's steps (:mod:`dbops.backup.take`), the
log between two full backups (:mod:`.shipping`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from dbops import lock, status
from dbops.backup.copying import Copying, Facts, Stream
from dbops.backup.take import LOG_WORK, take
from dbops.contract import BackupRequest, Progress
from dbops.engines.redis import (
    catalogue,
    client,
    fingerprint,
    options,
    processes,
    replica,
    shipping,
    spool,
    tampering,
)
from dbops.engines.redis.catalogue import STORE
from dbops.engines.redis.options import Options
from dbops.engines.redis.position import Point
from dbops.engines.redis.rewriting import Base, Rewriting
from dbops.engines.redis.shipping import Since
from dbops.engines.redis.spool import Spool
from dbops.errors import Busy, DbopsError, Unreachable, VerificationFailed
from dbops.manifest import Fingerprint, Manifest
from dbops.options import require_part
from dbops.repository import catalogue as stored
from dbops.repository.restic import Repository, Saved
from dbops.repository.routes import Entry
from dbops.targets import Target

_LOG_WAIT_SECONDS = 3600.0
_NOTED_SECONDS = 3.0
_TIDY_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Source:
    """Whose data the hidden replica has."""

    member: str


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take a full backup as :func:`dbops.backup.take.take` does, or ship the log.

    Raises VerificationFailed when the backup cannot be trusted.
    """
    opts = options.read(target)
    if request.kind == "log":
        require_part(target, "repository")
        return _take_log(target, opts, STORE.open(target, remember=True), progress)
    return take(target, request, progress, copying(target, opts))


def _take_log(target: Target, opts: Options, repo: Repository, progress: Progress) -> Manifest:
    """Ship the log; when it goes on from no full backup, take one first: that starts it anew."""
    with status.recorded(target, "log") as record:
        since = shipping.base_of_log(opts, repo, progress)
        if since is None:
            since = _begun_anew(target, opts, repo, progress)
        if since is None:
            raise VerificationFailed(
                "The replica copied all from the primary again during the backup: run again."
            )
        manifest = shipping.ship(target, opts, repo, since, progress)
        record(manifest)
    # A log backup is taken every minute: it reads the repository no more often than it must.
    status.update(target, "catalogue", {"newest": manifest.stop.isoformat()})
    shipping.refuse_standstill(opts, manifest)
    _refuse_tampered(opts)
    return manifest


def _refuse_tampered(opts: Options) -> None:
    """Raise VerificationFailed when the log that is stored comes from a replica not as declared."""
    try:
        connection = client.replica(opts)
    except Unreachable:
        return  # what stands still was told of already
    with connection:
        tampering.require_as_declared(opts, connection)


def _begun_anew(
    target: Target, opts: Options, repo: Repository, progress: Progress
) -> Since | None:
    """Start the log anew by a full backup; one that runs may be about to tell what it goes on from.

    Raises Busy when one runs and does not.
    """
    try:
        with lock.hold(target, "backup"):
            progress("the replica has a new base of its own: a full backup starts the log anew")
            full = copying(target, opts, for_log=True)
            take(target, BackupRequest("full", automatic=True), progress, full)
    except Busy:
        found, end = stored.entries(repo), time.monotonic() + _NOTED_SECONDS
        while (begun := shipping.since(opts, found)) is None:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        return begun
    return shipping.base_of_log(opts, repo, progress)


def copying(target: Target, opts: Options, for_log: bool = False) -> Copying[Source]:
    """Return what the frame is to know of this engine and this cluster.

    With ``for_log`` the caller is a log backup and holds the lock of those too: what the replica
    has will do when its primary is gone.
    """
    work = _Work(target, opts, for_log)
    return Copying(
        store=STORE,
        kinds=("full",),
        source=work.source,
        open_stream=work.stream,
        fingerprint=work.fingerprint,
        tidy=work.tidy,
    )


@dataclass(frozen=True)
class _Work:
    target: Target
    opts: Options
    for_log: bool

    def log_alone(self, wait_seconds: float) -> AbstractContextManager[None]:
        if self.for_log:
            return nullcontext()
        return lock.hold(self.target, LOG_WORK, wait_seconds)

    def source(self, newest: Entry | None, progress: Progress) -> Source:
        with client.replica(self.opts) as connection:
            return Source(replica.attach(self.opts, connection, progress, self.for_log))

    @contextmanager
    def stream(
        self, repo: Repository, source: Source, parent: Entry | None, progress: Progress
    ) -> Iterator[Stream]:
        """Let the replica write a new base, which is stored while it is being written."""
        opts = self.opts
        with client.replica(opts) as connection:
            replica.healthy(connection)
            tampering.require_as_declared(opts, connection)
            linked = shipping.linked(opts)
            with Rewriting(opts, connection, source.member) as rewriting:
                closing = rewriting.watch(linked)

                def finished(saved: Saved, lines: Sequence[str]) -> Facts:
                    base = closing.result()
                    tampering.require_as_declared(opts, connection)
                    return _facts(base, saved)

                def ends_log(found: Sequence[Entry]) -> Entry | None:
                    return self.rest(repo, shipping.among(found, linked), progress)

                try:
                    # What redis compresses is not compressed again: that would only cost time.
                    producer = rewriting.producer()
                    yield Stream(catalogue.BASE, producer, finished, ends_log)
                except DbopsError:
                    # Report why the base is incomplete; that its reader met no end says less.
                    closing.result()
                    rewriting.refuse_damage()
                    raise
                finally:
                    self.base(rewriting.backup_id).unlink(missing_ok=True)

    def base(self, backup_id: str) -> Path:
        """Return where the base of a backup is linked, until its content is recorded."""
        return self.opts.require_path("stage_dir") / backup_id / catalogue.BASE

    def rest(self, repo: Repository, begun: Since | None, progress: Progress) -> Entry | None:
        """Store the rest of the log that the new base ends."""
        if begun is None:
            return None
        # A log backup that runs now has measured the log before this base ended it.
        progress("storing the rest of the log, after a log backup that may be running")
        with self.log_alone(_LOG_WAIT_SECONDS):
            return shipping.stored(self.opts, repo, begun, progress)[1]

    def fingerprint(
        self, source: Source, manifest: Manifest, progress: Progress
    ) -> tuple[Fingerprint, ...]:
        base = self.base(manifest.backup_id)
        return (fingerprint.of_file(self.opts, base, manifest.start_point, progress),)

    def tidy(self, manifest: Manifest, progress: Progress) -> None:
        """Remove the former log's files, once no log backup is about to read them."""
        try:
            with self.log_alone(_TIDY_WAIT_SECONDS):
                _forget_spools(self.opts, manifest.backup_id)
        except Busy as busy:
            progress(f"the former log's files are removed after the next backup: {busy}")


def _facts(base: Base, saved: Saved) -> Facts:
    size = base.path.stat().st_size
    if saved.bytes_read != size:
        raise VerificationFailed(
            f"{saved.bytes_read} bytes of the base were stored and it has {size}: run again."
        )
    point = str(Point(base.head.format, base.base_id, 0))
    return Facts(base.head.writer, base.start, base.stop, point, point, saved.bytes_read)


def _forget_spools(opts: Options, staying: str) -> None:
    """Remove what belongs to other full backups, and what killed runs left: all is stored."""
    for folder in opts.require_path("stage_dir").iterdir():
        if folder.is_dir() and folder.name != staying and spool.left_over(folder):
            processes.end(folder)
            Spool(folder).remove()
