"""An engine's catalogue in restic, its verification and its expiry, bound to its options once.

What is *not* here: how each is done (:mod:`dbops.repository.catalogue`, ``.expiry``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dbops.contract import Catalogue, Progress, VerifyResult
from dbops.options import ResticOptions, require_part
from dbops.repository import catalogue, expiry
from dbops.repository.restic import Repository
from dbops.repository.retention import DAY_SECONDS, Policy
from dbops.runner import Plan
from dbops.targets import Target

Opts = TypeVar("Opts", bound=ResticOptions)


@dataclass(frozen=True)
class Store(Generic[Opts]):
    """The repository of an engine's clusters; ``read`` returns the options of a target."""

    read: Callable[[Target], Opts]

    def open(self, target: Target, remember: bool = False) -> Repository:
        """Return the repository as :func:`dbops.repository.catalogue.open_repository` does."""
        return catalogue.open_repository(target, self.read(target), remember)

    def kept(self, target: Target) -> Policy:
        """Return how many full backups retention keeps, and how often one is scheduled."""
        opts = self.read(target)
        period = opts.schedule_interval_seconds.get("full") or DAY_SECONDS
        return Policy(opts.keep_full, period)

    def catalogue(self, target: Target) -> Catalogue:
        """Return every complete backup, oldest first, and the times to which a restore can go."""
        return catalogue.catalogue(self.open(target))

    def verify(self, target: Target, progress: Progress) -> VerifyResult:
        """Read back every stored byte; the problems name the backups that they hit."""
        require_part(target, "repository")
        return catalogue.verify(target, self.open(target), progress)

    def plan_expire(self, target: Target, backup_id: str | None) -> Plan:
        """Return the steps that expire one backup, or what retention lets go; never the last."""
        require_part(target, "repository")
        return expiry.plan(target, self.open(target), backup_id, self.kept(target))
