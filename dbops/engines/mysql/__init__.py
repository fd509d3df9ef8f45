"""MySQL and MariaDB: pulled physical backups, binary log, exact fingerprints, isolated drills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbops.contract import Engine
from dbops.engines import Later

if TYPE_CHECKING:
    from dbops.engines import mysql as its
    from dbops.engines.mysql import (
        audit,
        backup,
        catalogue,
        checks,
        compare,
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
    name="mysql",
    title="MySQL and MariaDB",
    default_port=3306,
    check=its.checks.check,
    audit=its.audit.audit,
    catalogue=its.catalogue.STORE.catalogue,
    take_backup=its.backup.take_backup,
    verify=its.catalogue.STORE.verify,
    plan_expire=its.catalogue.STORE.plan_expire,
    plan_restore=its.restore.plan_restore,
    plan_discard=its.restore.plan_discard,
    fingerprint=its.fingerprint.fingerprint,
    compare_members=its.compare.compare_members,
    run_drill=its.drill.run_drill,
    heartbeat=its.heartbeat.heartbeat,
    collect=its.monitor.collect,
    plan_migrate=its.migrate.plan_migrate,
    migration=its.migrate.migration,
)
