"""Redis and Valkey: backups from a hidden replica, exact fingerprints, drills in isolation."""

from __future__ import annotations

from dbops.contract import Engine
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

ENGINE = Engine(
    name="redis",
    title="Redis and Valkey",
    default_port=6379,
    check=checks.check,
    audit=audit.audit,
    catalogue=catalogue.catalogue,
    take_backup=backup.take_backup,
    verify=catalogue.verify,
    plan_expire=catalogue.plan_expire,
    plan_restore=restore.plan_restore,
    plan_discard=restore.plan_discard,
    fingerprint=fingerprint.fingerprint,
    run_drill=drill.run_drill,
    heartbeat=heartbeat.heartbeat,
    collect=monitor.collect,
    plan_migrate=migrate.plan_migrate,
    migration=migrate.migration,
)
