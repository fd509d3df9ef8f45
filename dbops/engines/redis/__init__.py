"""Redis and Valkey: backups from a hidden replica, exact fingerprints, drills in isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbops.contract import Engine
from dbops.engines import Later

if TYPE_CHECKING:
    from dbops.engines import redis as its
    from dbops.engines.redis import (
        audit,
        backup,
        catalogue,
        checks,
        drill,
        fingerprint,
        heartbeat,
        migrate,
        monitor,
        restore,
    )
else:
    its = Later(__name__)

ENGINE = Engine(
    name="redis",
    title="Redis and Valkey",
    default_port=6379,
    check=its.checks.check,
    audit=its.audit.audit,
    catalogue=its.catalogue.STORE.catalogue,
    take_backup=its.backup.take_backup,
    verify=its.catalogue.STORE.verify,
    plan_expire=its.catalogue.STORE.plan_expire,
    plan_restore=its.restore.plan_restore,
    plan_discard=its.restore.plan_discard,
    fingerprint=its.fingerprint.fingerprint,
    run_drill=its.drill.run_drill,
    heartbeat=its.heartbeat.heartbeat,
    collect=its.monitor.collect,
    plan_migrate=its.migrate.plan_migrate,
    migration=its.migrate.migration,
)
