"""The options of a PostgreSQL target: what the role renders under ``options``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from dbops.options import EngineOptions, Port, require_part
from dbops.options import read as read_options
from dbops.targets import Target

__all__ = ["Options", "read", "require_part", "unfinished"]


class Options(EngineOptions):
    """Settings of one PostgreSQL cluster as seen from one host.

    ``memberships`` maps a role to those it was declared to be in, and ``grants`` are the declared
    ones, as the role takes them: what the audit compares with.
    """

    PART_OF: ClassVar[dict[str, str]] = EngineOptions.PART_OF | {
        "config_dir": "member",
        "passfile": "repository",
        "bin_dir": "member",
    }

    stanza: str
    port: Port = 5432
    bin_dir: Path | None = None
    pgbackrest_config: Path = Path("/etc/pgbackrest/pgbackrest.conf")
    os_user: str = "postgres"

    config_dir: Path | None = None
    socket_dir: Path = Path("/run/postgresql")
    heartbeat_user: str = "dbops_heartbeat"
    monitor_user: str = "dbops_monitor"
    superusers: tuple[str, ...] = ("postgres",)
    createrole: tuple[str, ...] = ()
    createdb: tuple[str, ...] = ()
    replication: tuple[str, ...] = ("dbops_replication", "dbops_backup")
    bypassrls: tuple[str, ...] = ("dbops_backup",)
    memberships: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    grants: tuple[dict[str, Any], ...] = ()

    backup_user: str = "dbops_backup"
    passfile: Path | None = None
    database: str = "postgres"
    repo_path: Path = Path("/var/lib/pgbackrest")
    lock_path: Path = Path("/run/pgbackrest")
    log_path: Path = Path("/var/log/pgbackrest")
    gate_user: str = "pgbackrest-gate"

    migrate_port: Port = 5432
    migrate_user: str = "dbops_migrate"
    migrate_passfile: Path = Path("/etc/dbops/secrets/postgresql-migrate.pgpass")
    migrate_ca_file: Path = Path("/etc/dbops/tls/ca.crt")
    migrate_databases: tuple[str, ...] = ()

    amcheck: bool = True


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    return read_options(Options, target)


def unfinished(data_dir: Path) -> Path:
    """Return the file that the role keeps beside a data directory while it is copied to."""
    return data_dir.with_name(f"{data_dir.name}.unfinished")
