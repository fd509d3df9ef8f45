"""Taking a full backup: a new base on the hidden replica, stored, checked and fingerprinted.

What is *not* here: the log between two full backups (:mod:`.shipping`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import dbops
from dbops import lock, status
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
from dbops.engines.redis.options import Options
from dbops.engines.redis.position import Point
from dbops.engines.redis.rewriting import Base, Rewriting
from dbops.engines.redis.shipping import Since
from dbops.engines.redis.spool import Spool
from dbops.errors import Busy, ConfigError, DbopsError, Unreachable, VerificationFailed
from dbops.manifest import Manifest
from dbops.options import require_part
from dbops.repository import catalogue as stored
from dbops.repository import expiry, plausible, routes
from dbops.repository.plausible import Size
from dbops.repository.restic import Repository, Saved
from dbops.repository.routes import Entry
from dbops.targets import Target

_LOG_WAIT_SECONDS = 3600.0
_NOTED_SECONDS = 3.0
_TIDY_WAIT_SECONDS = 60.0


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take one backup, prove that it is plausible, and list it with its manifest.

    Raises Busy when another runs, VerificationFailed when the backup cannot be trusted.
    """
    require_part(target, "repository")
    opts = options.read(target)
    if request.kind not in ("full", "log"):
        raise ConfigError(f"Redis has full and log backups and no {request.kind} ones: take those.")
    repo = stored.open_repository(target, opts, remember=True)
    if request.kind == "full":
        return take_full(target, opts, repo, request.fingerprint, progress)
    return _take_log(target, opts, repo, progress)


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
            take_full(target, opts, repo, True, progress, for_log=True)
    except Busy:
        found, end = stored.entries(repo), time.monotonic() + _NOTED_SECONDS
        while (begun := shipping.since(opts, found)) is None:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        return begun
    return shipping.base_of_log(opts, repo, progress)


def take_full(
    target: Target,
    opts: Options,
    repo: Repository,
    with_fingerprint: bool,
    progress: Progress,
    for_log: bool = False,
) -> Manifest:
    """Take a full backup; the caller holds the cluster's backup lock.

    With ``for_log`` the caller is a log backup and holds the lock of those too: what the replica
    has will do when its primary is gone.
    """

    def log_alone(wait_seconds: float) -> AbstractContextManager[None]:
        return nullcontext() if for_log else lock.hold(target, "log backup", wait_seconds)

    with status.recorded(target, "full") as record:
        base, saved, found, begun = _stored_base(opts, repo, for_log, progress)
        rest: Entry | None = None
        try:
            if begun is not None:
                # A log backup that runs now has measured the log before this base ended it.
                progress("storing the rest of the log, after a log backup that may be running")
                with log_alone(_LOG_WAIT_SECONDS):
                    _, rest = shipping.stored(opts, repo, begun, progress)
                    if rest is not None and with_fingerprint:
                        # That takes its time: what ends a run meanwhile must not cost this log.
                        stored.add(target, repo, rest)
                        rest = None
            manifest, forgotten = _listed(
                target, opts, repo, base, saved, with_fingerprint, rest, progress
            )
        finally:
            base.path.unlink(missing_ok=True)
        status.note_catalogue(target, stored.catalogue(repo), encrypted=True)
        plausible.require_size(Size(base.backup_id, manifest.bytes_read), routes.fulls(found))
        record(manifest)
    try:
        with log_alone(_TIDY_WAIT_SECONDS):
            _forget_spools(opts, base.backup_id)
    except Busy as busy:
        progress(f"the former log's files are removed after the next backup: {busy}")
    expiry.give_back(target, repo, forgotten, progress)
    return manifest


def _stored_base(
    opts: Options, repo: Repository, alone: bool, progress: Progress
) -> tuple[Base, Saved, Sequence[Entry], Since | None]:
    """Let the replica write a new base, and store it while it is being written.

    Returns also what the catalogue held before, and which of it the replica's log went on from.
    What redis compresses is not compressed again: that would only cost time.
    """
    with client.replica(opts) as connection:
        member = replica.attach(opts, connection, progress, alone)
        replica.healthy(connection)
        tampering.require_as_declared(opts, connection)
        linked = shipping.linked(opts)
        progress(f"full backup of {member}'s data from its replica here")
        with Rewriting(opts, connection, member) as rewriting:
            closing = rewriting.watch(linked)
            try:
                found = stored.known(repo, progress)
                producer, tags = rewriting.producer(), (rewriting.backup_id,)
                saved = repo.save_stream(producer, catalogue.BASE, tags, progress, "off")
            except DbopsError:
                # Why there is no whole base says more than that its reader met no end.
                closing.result()
                rewriting.refuse_damage()
                raise
            base = closing.result()
        tampering.require_as_declared(opts, connection)
    if saved.bytes_read != base.path.stat().st_size:
        raise VerificationFailed(
            f"{saved.bytes_read} bytes of the base were stored and it has "
            f"{base.path.stat().st_size}: run again."
        )
    return base, saved, found, shipping.among(found, linked)


def _listed(
    target: Target,
    opts: Options,
    repo: Repository,
    base: Base,
    saved: Saved,
    with_fingerprint: bool,
    rest: Entry | None,
    progress: Progress,
) -> tuple[Manifest, bool]:
    """List the stored base, with the fingerprint of its content if one is wanted, and ``rest``.

    Returns also whether retention let something go.
    """
    manifest = _manifest(target, repo, base, saved)
    trouble: DbopsError | None = None
    if with_fingerprint:
        try:
            point = manifest.start_point
            found = fingerprint.of_file(opts, base.path, point, progress)
            manifest = manifest.model_copy(update={"fingerprints": (found,)})
        except DbopsError as error:
            trouble = error
    new = Entry(manifest=manifest, snapshots={catalogue.BASE: saved.snapshot_id})
    listed = [new] if rest is None else [rest, new]
    forgotten = expiry.add(target, repo, listed, opts.backup_keep_full, progress)
    if trouble is not None:
        raise type(trouble)(
            f"Backup {base.backup_id} is complete and kept, but without a fingerprint: {trouble}"
        )
    return manifest, forgotten


def _manifest(target: Target, repo: Repository, base: Base, saved: Saved) -> Manifest:
    point = str(Point(base.head.format, base.base_id, 0))
    return Manifest(
        engine=target.engine,
        version=base.head.writer,
        cluster=target.cluster,
        member=base.member,
        backup_id=base.backup_id,
        kind="full",
        parent_id=None,
        start=base.start,
        stop=base.stop,
        start_point=point,
        stop_point=point,
        bytes_read=saved.bytes_read,
        bytes_stored=saved.bytes_stored,
        encrypted=True,
        tool="restic",
        tool_version=repo.version(),
        dbops_version=dbops.__version__,
    )


def _forget_spools(opts: Options, staying: str) -> None:
    """Remove what belongs to other full backups, and what killed runs left: all is stored."""
    for folder in opts.require_path("stage_dir").iterdir():
        if folder.is_dir() and folder.name != staying and spool.left_over(folder):
            processes.end(folder)
            Spool(folder).remove()
