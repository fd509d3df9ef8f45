"""The options of a MySQL or MariaDB target: what the role renders under ``options``.

What is *not* here: a secret, only the paths of the option files that hold them.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dbops.manifest import Kind
from dbops.options import EngineOptions, require_part, scratch_dir
from dbops.options import read as read_options
from dbops.targets import Target

__all__ = ["Flavor", "Options", "read", "require_part"]

Flavor = Literal["mariadb", "mysql"]


class Options(EngineOptions):
    """Settings of one cluster as seen from one host.

    ``hosts`` maps each member to the address on which it answers. ``os_user`` is the account that
    the server runs under here and ``agent_user`` the one of the exporter and the heartbeat. A
    ``*_file`` is an option file with ``user``, ``password`` and ``ssl-*`` under ``[client]``.
    """

    PART_OF: ClassVar = {
        "data_dir": "member",
        "backup_file": "repository",
        "binlog_file": "repository",
        "binlog_dir": "repository",
        "stream_key": "repository",
        "stream_known_hosts": "repository",
        "scratch_dir": "drill",
    }

    flavor: Flavor = "mariadb"
    port: int = Field(default=3306, ge=1, le=65535)
    os_user: str = "mysql"
    agent_user: str = "dbops"
    hosts: dict[str, str] = Field(default_factory=dict)
    ca_file: Path = Path("/etc/dbops/tls/ca.crt")

    socket: Path = Path("/run/mysqld/mysqld.sock")
    data_dir: Path | None = None
    config_file: Path = Path("/etc/mysql/dbops.cnf")
    service: str | None = None
    heartbeat_schema: str = "dbops"
    heartbeat_interval_seconds: float = Field(default=2, gt=0)
    tls_certificate: Path = Path("/etc/dbops/tls/host.crt")
    tls_key: Path = Path("/etc/dbops/tls/host.key")
    administrators: tuple[str, ...] = ()
    audit_waivers: dict[str, str] = Field(default_factory=dict)
    restore_time_limit_seconds: float = Field(default=6 * 3600, gt=0)

    repo_path: Path = Path("/var/lib/dbops-repository")
    repo_host: str | None = None
    repo_user: str = "dbops-repository"
    repo_password_file: Path = Path("/etc/dbops/secrets/mysql-repository.key")
    repo_ssh_key: Path = Path("/etc/dbops/secrets/repository.ssh")
    repo_known_hosts: Path = Path("/etc/dbops/known_hosts/mysql")

    backup_file: Path | None = None
    binlog_file: Path | None = None
    binlog_dir: Path | None = None
    stream_user: str = "dbops-stream"
    stream_key: Path | None = None
    stream_known_hosts: Path | None = None
    keep_full: int = Field(default=4, ge=1)
    schedule_interval_seconds: dict[Kind, float] = Field(default_factory=dict)
    minimum_redundancy: int = Field(default=1, ge=0)
    drill_interval_seconds: float | None = None

    migrate_hosts: dict[str, str] = Field(default_factory=dict)
    migrate_port: int = Field(default=3306, ge=1, le=65535)
    migrate_file: Path | None = None
    migrate_proof_seconds: float = Field(default=24 * 3600, gt=0)

    scratch_dir: Path | None = None
    drill_check_tables: bool = True


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    options = read_options(Options, target)
    if target.part == "drill" and options.scratch_dir is None:
        options = options.model_copy(update={"scratch_dir": scratch_dir(target)})
    return options
