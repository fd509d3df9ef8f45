"""The options of a PostgreSQL target: what the role renders under ``options``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from dbops.manifest import Kind
from dbops.options import EngineOptions, require_part, scratch_dir
from dbops.options import read as read_options
from dbops.targets import Target

__all__ = ["Options", "read", "require_part"]


class Options(EngineOptions):
    """Settings of one PostgreSQL cluster as seen from one host.

    ``hosts`` maps each member to the address on which it answers. ``os_user`` is the account that
    pgBackRest and the server run under on this host. ``migrate_hosts`` are the members of the
    other cluster of a migration. ``memberships`` maps a role to those it was declared to be in, and
    ``grants`` are the declared ones, as the role takes them: what the audit compares with.
    """

    PART_OF: ClassVar = {
        "data_dir": "member",
        "config_dir": "member",
        "service": "member",
        "passfile": "repository",
        "ca_file": "repository",
        "scratch_dir": "drill",
        "bin_dir": "member",
    }

    stanza: str
    port: int = Field(default=5432, ge=1, le=65535)
    bin_dir: Path | None = None
    pgbackrest_config: Path = Path("/etc/pgbackrest/pgbackrest.conf")
    os_user: str = "postgres"
    agent_user: str = "dbops"
    hosts: dict[str, str] = Field(default_factory=dict)

    data_dir: Path | None = None
    config_dir: Path | None = None
    service: str | None = None
    socket_dir: Path = Path("/run/postgresql")
    heartbeat_interval_seconds: float = Field(default=2, gt=0)
    heartbeat_user: str = "dbops_heartbeat"
    monitor_user: str = "dbops_monitor"
    tls_certificate: Path = Path("/etc/dbops/tls/host.crt")
    audit_waivers: dict[str, str] = Field(default_factory=dict)
    superusers: tuple[str, ...] = ("postgres",)
    createrole: tuple[str, ...] = ()
    createdb: tuple[str, ...] = ()
    replication: tuple[str, ...] = ("dbops_replication", "dbops_backup")
    bypassrls: tuple[str, ...] = ("dbops_backup",)
    memberships: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    grants: tuple[dict[str, Any], ...] = ()
    restore_time_limit_seconds: float = Field(default=6 * 3600, gt=0)

    backup_user: str = "dbops_backup"
    passfile: Path | None = None
    ca_file: Path | None = None
    database: str = "postgres"
    repo_path: Path = Path("/var/lib/pgbackrest")
    lock_path: Path = Path("/run/pgbackrest")
    log_path: Path = Path("/var/log/pgbackrest")
    gate_user: str = "pgbackrest-gate"
    schedule_interval_seconds: dict[Kind, float] = Field(default_factory=dict)
    minimum_redundancy: int = Field(default=1, ge=0)
    drill_interval_seconds: float | None = None

    migrate_hosts: dict[str, str] = Field(default_factory=dict)
    migrate_port: int = Field(default=5432, ge=1, le=65535)
    migrate_user: str = "dbops_migrate"
    migrate_passfile: Path = Path("/etc/dbops/secrets/postgresql-migrate.pgpass")
    migrate_ca_file: Path = Path("/etc/dbops/tls/ca.crt")
    migrate_databases: tuple[str, ...] = ()
    migrate_proof_seconds: float = Field(default=24 * 3600, gt=0)

    scratch_dir: Path | None = None
    amcheck: bool = True


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    options = read_options(Options, target)
    if target.part == "drill" and options.scratch_dir is None:
        options = options.model_copy(update={"scratch_dir": scratch_dir(target)})
    return options
