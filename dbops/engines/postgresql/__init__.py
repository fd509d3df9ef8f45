"""PostgreSQL: physical backups by pgBackRest, exact content fingerprints, drills in isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbops.contract import Engine
from dbops.engines import Later

if TYPE_CHECKING:
    from dbops.engines import postgresql as its
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
else:
    its = Later(__name__)

ENGINE = Engine(
    name="postgresql",
    title="PostgreSQL",
    default_port=5432,
    check=its.checks.check,
    audit=its.audit.audit,
    catalogue=its.catalogue.catalogue,
    take_backup=its.backup.take_backup,
    verify=its.retention.verify,
    plan_expire=its.retention.plan_expire,
    plan_restore=its.restore.plan_restore,
    plan_salvage=its.salvage.plan_salvage,
    plan_discard=its.restore.plan_discard,
    fingerprint=its.fingerprint.fingerprint,
    run_drill=its.drill.run_drill,
    heartbeat=its.heartbeat.heartbeat,
    collect=its.monitor.collect,
    plan_migrate=its.migrate.plan_migrate,
    migration=its.migrate.migration,
)
