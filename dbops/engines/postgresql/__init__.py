"""PostgreSQL: physical backups by pgBackRest, exact content fingerprints, drills in isolation."""

from __future__ import annotations

from dbops.contract import Engine
from dbops.engines.postgresql import (
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
    retention,
    salvage,
)

ENGINE = Engine(
    name="postgresql",
    title="PostgreSQL",
    default_port=5432,
    check=checks.check,
    audit=audit.audit,
    catalogue=catalogue.catalogue,
    take_backup=backup.take_backup,
    verify=retention.verify,
    plan_expire=retention.plan_expire,
    plan_restore=restore.plan_restore,
    plan_salvage=salvage.plan_salvage,
    plan_discard=restore.plan_discard,
    fingerprint=fingerprint.fingerprint,
    run_drill=drill.run_drill,
    heartbeat=heartbeat.heartbeat,
    collect=monitor.collect,
    plan_migrate=migrate.plan_migrate,
    migration=migrate.migration,
)
