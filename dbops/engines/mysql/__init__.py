"""MySQL and MariaDB: pulled physical backups, binary log, exact fingerprints, isolated drills."""

from __future__ import annotations

from dbops.contract import Engine
from dbops.engines.mysql import (
    audit,
    backup,
    checks,
    drill,
    fingerprint,
    heartbeat,
    migrate,
    monitor,
    restore,
    retention,
)

ENGINE = Engine(
    name="mysql",
    title="MySQL and MariaDB",
    default_port=3306,
    check=checks.check,
    audit=audit.audit,
    catalogue=retention.catalogue,
    take_backup=backup.take_backup,
    verify=retention.verify,
    plan_expire=retention.plan_expire,
    plan_restore=restore.plan_restore,
    plan_discard=restore.plan_discard,
    fingerprint=fingerprint.fingerprint,
    run_drill=drill.run_drill,
    heartbeat=heartbeat.heartbeat,
    collect=monitor.collect,
    plan_migrate=migrate.plan_migrate,
    migration=migrate.migration,
)
