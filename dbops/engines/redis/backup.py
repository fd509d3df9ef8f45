"""Taking a full backup: a new base on the hidden replica, stored, checked and fingerprinted.

What is *not* here: the log between two full backups (:mod:`.shipping`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dbops
from dbops import lock, repository, status
from dbops.contract import BackupRequest, Progress
from dbops.engines.redis import (
    aof,
    catalogue,
    client,
    fingerprint,
    options,
    rdb,
    replica,
    shipping,
)
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.engines.redis.points import Point
from dbops.engines.redis.rdb import Head
from dbops.engines.redis.spool import Spool
from dbops.errors import ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Manifest
from dbops.options import require_part
from dbops.repository import Entry
from dbops.restic import Repository, Saved
from dbops.runner import Command, capture, explain
from dbops.targets import Target

SMALLEST_SHARE = 0.5
_CHECK_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class _Base:
    """A new base of the replica, linked so that it cannot vanish."""

    backup_id: str
    member: str
    path: Path
    base_id: str
    head: Head
    start: datetime
    stop: datetime


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take one backup, prove that it is plausible, and list it with its manifest.

    Raises Busy when another runs, VerificationFailed when the backup cannot be trusted.
    """
    require_part(target, "repository")
    opts = options.read(target)
    if request.kind not in ("full", "log"):
        raise ConfigError(f"Redis has full and log backups and no {request.kind} ones: take those.")
    repo = catalogue.open_(target, opts)
    if request.kind == "full":
        return take_full(target, opts, repo, request.fingerprint, progress)
    return _take_log(target, opts, repo, progress)


def _take_log(target: Target, opts: Options, repo: Repository, progress: Progress) -> Manifest:
    """Ship the log; when it goes on from no full backup, take one first: that starts it anew."""
    with status.recorded(target, "log") as record:
        since = shipping.base_of_log(opts, repo, progress)
        if since is None:
            progress("the replica has a new base of its own: a full backup starts the log anew")
            with lock.hold(target, "backup"):
                take_full(target, opts, repo, True, progress)
            since = shipping.base_of_log(opts, repo, progress)
        if since is None:
            raise VerificationFailed(
                "The replica copied all from the primary again during the backup: run again."
            )
        manifest = shipping.ship(target, opts, repo, since, progress)
        record(manifest)
    # A log backup is taken every minute: it reads the repository no more often than it must.
    status.update(target, "catalogue", {"newest": manifest.stop.isoformat()})
    shipping.refuse_standstill(opts, manifest)
    return manifest


def take_full(
    target: Target, opts: Options, repo: Repository, with_fingerprint: bool, progress: Progress
) -> Manifest:
    """Take a full backup; the caller holds the cluster's backup lock."""
    with status.recorded(target, "full") as record:
        found = repository.entries(repo)
        base = _new_base(target, opts, repo, found, progress)
        try:
            manifest = _store(target, opts, repo, base, with_fingerprint, progress)
        finally:
            base.path.unlink(missing_ok=True)
        record(manifest)
    _forget_spools(opts, base.backup_id)
    repository.expire_after(target, repo, opts.backup_keep_full, progress)
    status.note_catalogue(target, repository.catalogue(repo), encrypted=True)
    _plausible(manifest, catalogue.newest_full(found))
    return manifest


def _new_base(
    target: Target,
    opts: Options,
    repo: Repository,
    found: Sequence[Entry],
    progress: Progress,
) -> _Base:
    """Let the replica begin a new base, with the former log linked to its end."""
    start = datetime.now(UTC)
    with client.replica(opts) as connection:
        member = replica.follow(opts, connection, progress)
        replica.wait_in_step(opts, connection, progress)
        replica.healthy(connection)
        begun = shipping.since(opts, found) if found else None
        progress(f"full backup of {member}'s data from its replica here")
        moment = replica.rewrite(connection)
        base = _link_base(opts, member, start, moment)
        if begun is not None and _no_copy_since(connection):
            shipping.spool_of(opts, begun.full.backup_id).goes_on(base.base_id)
    if begun is not None:
        shipping.ship_last(target, opts, repo, begun, progress)
    return base


def _no_copy_since(connection: Connection) -> bool:
    """A copy from the primary during the rewrite would make a base that goes on from nothing."""
    return replica.out_of_step(connection) is None


def _link_base(opts: Options, member: str, start: datetime, moment: datetime) -> _Base:
    found = aof.read(opts.require_path("replica_dir"))
    base_id = found.base_id()
    backup_id = repository.new_id("full", moment)
    place = Spool(opts.require_path("stage_dir") / backup_id)
    place.begin(base_id, opts.os_user if os.geteuid() == 0 else None)
    path = place.folder / catalogue.BASE
    path.unlink(missing_ok=True)
    os.link(found.base, path)
    return _Base(backup_id, member, path, base_id, rdb.read_head(path), start, moment)


def _store(
    target: Target,
    opts: Options,
    repo: Repository,
    base: _Base,
    with_fingerprint: bool,
    progress: Progress,
) -> Manifest:
    _check(opts, base.path)
    progress("storing the base")
    reading = Command(("cat", str(base.path)), title="reading the base", user=_account(opts))
    saved = repo.save_stream(reading, catalogue.BASE, (base.backup_id,), progress)
    if saved.bytes_read != base.path.stat().st_size:
        raise VerificationFailed(
            f"{saved.bytes_read} bytes of the base were stored and it has "
            f"{base.path.stat().st_size}: run again."
        )
    manifest = _manifest(target, repo, base, saved)
    trouble: DbopsError | None = None
    if with_fingerprint:
        try:
            point = manifest.start_point
            found = fingerprint.of_file(opts, base.path, point, progress)
            manifest = manifest.model_copy(update={"fingerprints": (found,)})
        except DbopsError as error:
            trouble = error
    repository.add(target, repo, manifest, {catalogue.BASE: saved.snapshot_id})
    if trouble is not None:
        raise type(trouble)(
            f"Backup {base.backup_id} is complete and kept, but without a fingerprint: {trouble}"
        )
    return manifest


def _account(opts: Options) -> str | None:
    return opts.os_user if os.geteuid() == 0 else None


def _check(opts: Options, path: Path) -> None:
    """Let the server's own tool read the whole base before it is stored."""
    command = Command(
        (str(opts.tool("check-rdb")), str(path)),
        title="check-rdb",
        user=_account(opts),
        timeout_seconds=_CHECK_SECONDS,
    )
    done = capture(command)
    if done.status != 0:
        raise VerificationFailed(f"The replica's base is damaged: {explain(command, done)}.")


def _manifest(target: Target, repo: Repository, base: _Base, saved: Saved) -> Manifest:
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
    """Remove the links that belong to other full backups: what they led to is stored."""
    for folder in opts.require_path("stage_dir").iterdir():
        if folder.is_dir() and folder.name != staying:
            Spool(folder).remove()


def _plausible(manifest: Manifest, former: Entry | None) -> None:
    """A backup of hardly anything is listed, for it is whole, and told of, for it is suspect."""
    before = former.manifest.bytes_read if former else 0
    if manifest.bytes_read < SMALLEST_SHARE * before:
        raise VerificationFailed(
            f"Backup {manifest.backup_id} holds {manifest.bytes_read} bytes of data, less than "
            f"half of the {before} of {former.backup_id if former else ''}: look at what became "
            "of the rest."
        )
