"""The catalogue of a cluster: the neutral one over restic, and what Redis reads out of it."""

from __future__ import annotations

from collections.abc import Sequence

from dbops.backup.store import Store
from dbops.engines.redis import options
from dbops.engines.redis.options import Options
from dbops.repository import catalogue as stored
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.targets import Target

BASE = "base.rdb"
LOG = "log.aof"
STORE: Store[Options] = Store(options.read)


def open_(target: Target, opts: Options) -> Repository:
    """Return the cluster's repository: to write on its host, only to read elsewhere."""
    return stored.open_repository(target, opts)


def newest_full(found: Sequence[Entry]) -> Entry | None:
    """Return the newest full backup, None when there is none."""
    fulls = [entry for entry in found if entry.manifest.kind == "full"]
    return fulls[-1] if fulls else None
