"""The catalogue of a cluster: the neutral one over restic, and what Redis reads out of it."""

from __future__ import annotations

from collections.abc import Sequence

from dbops.contract import Catalogue, Progress, VerifyResult
from dbops.engines.redis import options
from dbops.engines.redis.options import Options
from dbops.options import require_part
from dbops.repository import catalogue as stored
from dbops.repository import expiry
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Plan
from dbops.targets import Target

BASE = "base.rdb"
LOG = "log.aof"


def open_(target: Target, opts: Options) -> Repository:
    """Return the cluster's repository: to write on its host, only to read elsewhere."""
    return stored.open_repository(target, opts)


def catalogue(target: Target) -> Catalogue:
    """Return every complete backup, oldest first, and the times to which a restore can go."""
    return stored.catalogue(open_(target, options.read(target)))


def newest_full(found: Sequence[Entry]) -> Entry | None:
    """Return the newest full backup, None when there is none."""
    fulls = [entry for entry in found if entry.manifest.kind == "full"]
    return fulls[-1] if fulls else None


def verify(target: Target, progress: Progress) -> VerifyResult:
    """Read back every stored byte; the problems name the backups that they hit."""
    require_part(target, "repository")
    return stored.verify(target, open_(target, options.read(target)), progress)


def plan_expire(target: Target, backup_id: str | None) -> Plan:
    """Return the steps that expire one backup, or what retention lets go; never the last one."""
    require_part(target, "repository")
    opts = options.read(target)
    return expiry.plan(target, open_(target, opts), backup_id, opts.backup_keep_full)
