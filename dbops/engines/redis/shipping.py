"""Shipping the log: everything since the newest full backup, as one stream that replaces its
predecessor. It does not wait for a full backup that is running.

What is *not* here: which files that log is made of (:mod:`.spool`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dbops
from dbops.contract import Progress
from dbops.engines.redis import aof, catalogue, client, position, replica, spool
from dbops.engines.redis.options import Options
from dbops.engines.redis.position import Point
from dbops.engines.redis.spool import Spool
from dbops.errors import DbopsError, Unreachable
from dbops.manifest import Manifest
from dbops.repository import catalogue as listing
from dbops.repository import routes
from dbops.repository.restic import Repository, Saved
from dbops.repository.routes import Entry
from dbops.targets import Target

_STANDSTILL_SECONDS = 60.0
_NOTHING = Saved("", 0, 0)


def spool_of(opts: Options, backup_id: str) -> Spool:
    """Return the links that belong to a full backup."""
    return Spool(opts.require_path("stage_dir") / backup_id)


@dataclass(frozen=True)
class Since:
    """The full backup that the replica's log goes on from, and what of that log is stored."""

    full: Entry
    stored: Entry | None


def base_of_log(opts: Options, repo: Repository, progress: Progress) -> Since | None:
    """Return what the replica's log goes on from, None when there is no such full backup.

    The replica is made to follow the primary of now; when that cannot be had, the log that came
    so far is shipped all the same.
    """
    try:
        with client.replica(opts) as connection:
            replica.follow(opts, connection, progress)
            copying = connection.info("replication").get("master_sync_in_progress") != "0"
            if not copying and replica.reachable(connection):
                replica.wait_in_step(opts, connection, progress)
    except DbopsError as error:
        progress(str(error))
    return since(opts, listing.entries(repo))


def since(opts: Options, found: Sequence[Entry]) -> Since | None:
    """Return which of the backups ``found`` the replica's log goes on from, and link it there."""
    newest = catalogue.newest_full(found)
    if newest is None or not link(opts, newest):
        return None
    return Since(newest, routes.log_of(found, newest))


def among(found: Sequence[Entry], spools: Sequence[Spool]) -> Since | None:
    """Return the newest full backup of ``found`` if one of the spools is its own."""
    newest = catalogue.newest_full(found)
    if newest is None or newest.backup_id not in {spool.folder.name for spool in spools}:
        return None
    return Since(newest, routes.log_of(found, newest))


def linked(opts: Options) -> list[Spool]:
    """Link the replica's log to every spool that it goes on from, and return those.

    After that a new base of the replica's cannot take anything of the log away.
    """
    places = [Spool(path) for path in opts.require_path("stage_dir").glob("*")]
    if not any(place.exists() for place in places):
        return []
    found = aof.read(opts.require_path("replica_dir"))
    base_id = found.base_id()
    going_on = [place for place in places if base_id in place.bases()]
    for place in going_on:
        place.link(found)
    return going_on


def link(opts: Options, full: Entry) -> bool:
    """Link the replica's log to the spool of ``full``; False when it does not go on from there."""
    found = aof.read(opts.require_path("replica_dir"))
    base_id = found.base_id()
    place = spool_of(opts, full.backup_id)
    if not place.exists():
        if position.base(full.manifest).base_id != base_id:
            return False
        place.begin(base_id, opts.os_user if os.geteuid() == 0 else None)
    if base_id not in place.bases():
        return False
    place.link(found)
    return True


def ship(
    target: Target, opts: Options, repo: Repository, begun: Since, progress: Progress
) -> Manifest:
    """Store and list the log since a full backup; nothing is stored when nothing came."""
    manifest, new = stored(opts, repo, begun, progress)
    if new is not None:
        listing.add(target, repo, new)
    return manifest


def stored(
    opts: Options, repo: Repository, begun: Since, progress: Progress
) -> tuple[Manifest, Entry | None]:
    """Store the log since a full backup; return what is to be listed of it, if anything came."""
    full, former = begun.full, begun.stored
    place = spool_of(opts, full.backup_id)
    parts = place.measure()
    size = spool.size(parts)
    if former is not None and position.parse(former.manifest.stop_point).offset == size:
        return former.manifest, None
    newest = spool.newest(parts) or full.manifest.stop
    times = full.manifest.stop, max(newest, full.manifest.stop)
    backup_id = f"{full.backup_id}_{datetime.now(UTC):%Y%m%d-%H%M%S}L"
    if size == 0:
        return _manifest(full.manifest, repo, backup_id, times, size, _NOTHING), None
    progress(f"storing {size} bytes of log")
    user = opts.os_user if os.geteuid() == 0 else None
    saved = repo.save_stream(spool.producer(parts, user), catalogue.LOG, (backup_id,), progress)
    manifest = _manifest(full.manifest, repo, backup_id, times, size, saved)
    return manifest, Entry(manifest=manifest, snapshots={catalogue.LOG: saved.snapshot_id})


def _manifest(
    full: Manifest,
    repo: Repository,
    backup_id: str,
    times: tuple[datetime, datetime],
    size: int,
    saved: Saved,
) -> Manifest:
    base = position.base(full)
    return full.model_copy(
        update={
            "backup_id": backup_id,
            "kind": "log",
            "parent_id": full.backup_id,
            "start": times[0],
            "stop": times[1],
            "start_point": str(base),
            "stop_point": str(Point(base.format, base.base_id, size)),
            "bytes_read": saved.bytes_read,
            "bytes_stored": saved.bytes_stored,
            "tool_version": repo.version(),
            "dbops_version": dbops.__version__,
            "fingerprints": (),
            "automatic": False,
            "accepted": False,
        }
    )


def refuse_standstill(opts: Options, manifest: Manifest) -> None:
    """Raise Unreachable when the log is stored and yet grows no longer: nothing comes in."""
    try:
        with client.replica(opts) as connection:
            trouble = replica.link_trouble(connection)
    except DbopsError as error:
        trouble = str(error)
    late = datetime.now(UTC) - manifest.stop > timedelta(seconds=_STANDSTILL_SECONDS)
    if trouble is not None and late:
        raise Unreachable(
            f"The log is stored up to {manifest.stop:%Y-%m-%dT%H:%M:%SZ} and nothing comes in: "
            f"{trouble}."
        )
