"""The catalogue, its verification and its expiry, bound to this engine's repository."""

from __future__ import annotations

from dbops.contract import Catalogue, Progress, VerifyResult
from dbops.engines.mysql import options
from dbops.repository import catalogue as stored
from dbops.repository import expiry
from dbops.runner import Plan
from dbops.targets import Target


def catalogue(target: Target) -> Catalogue:
    """Return every complete backup, oldest first, and the times to which a restore can go."""
    return stored.catalogue(stored.open_repository(target, options.read(target)))


def verify(target: Target, progress: Progress) -> VerifyResult:
    """Read back every stored byte, and name each backup that is damaged."""
    options.require_part(target, "repository")
    repo = stored.open_repository(target, options.read(target))
    return stored.verify(target, repo, progress)


def plan_expire(target: Target, backup_id: str | None) -> Plan:
    """Return the steps that expire one backup, or what retention lets go for None."""
    options.require_part(target, "repository")
    opts = options.read(target)
    repo = stored.open_repository(target, opts)
    return expiry.plan(target, repo, backup_id, opts.keep_full)
