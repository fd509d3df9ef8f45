"""The catalogue of a cluster, its verification and expiry: the neutral ones over restic."""

from __future__ import annotations

from dbops.backup.store import Store
from dbops.engines.mysql import options
from dbops.engines.mysql.options import Options

STORE: Store[Options] = Store(options.read)
