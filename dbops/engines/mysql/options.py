"""The options of a MySQL or MariaDB target: what the role renders under ``options``.

One model for every part of a cluster; an option that a part does not carry is None there, and
asking for it with :meth:`Options.require` says which part's target has it. What is *not* here:
a secret, only the paths of the option files that hold them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dbops.errors import ConfigError
from dbops.manifest import Kind
from dbops.targets import Model, Target, first_complaint

Flavor = Literal["mariadb", "mysql"]

_PART_OF = {
    "data_dir": "member",
    "service": "member",
    "monitor_file": "member",
    "heartbeat_file": "member",
    "backup_file": "repository",
    "binlog_file": "repository",
    "binlog_dir": "repository",
    "stream_key": "repository",
    "stream_known_hosts": "repository",
    "scratch_dir": "drill",
}


class Options(Model):
    """Settings of one cluster as seen from one host.

    ``hosts`` maps each member to the address on which it answers. ``os_user`` is the account that
    the server runs under here, and ``agent_user`` the one of the exporter and the heartbeat. A
    ``*_file`` is an option file with ``user`` and ``password`` under ``[client]``.
    """

    flavor: Flavor = "mariadb"
    port: int = Field(default=3306, ge=1, le=65535)
    os_user: str = "mysql"
    agent_user: str = "dbops"
    hosts: dict[str, str] = Field(default_factory=dict)
    ca_file: Path = Path("/etc/dbops/tls/ca.crt")

    socket: Path = Path("/run/mysqld/mysqld.sock")
    data_dir: Path | None = None
    config_file: Path = Path("/etc/mysql/my.cnf")
    service: str | None = None
    monitor_file: Path | None = None
    heartbeat_file: Path | None = None
    heartbeat_schema: str = "dbops"
    heartbeat_interval_seconds: float = Field(default=2, gt=0)
    tls_certificate: Path = Path("/etc/dbops/tls/mysql/server.crt")
    tls_key: Path = Path("/etc/dbops/tls/mysql/server.key")
    administrators: tuple[str, ...] = ()
    audit_waivers: dict[str, str] = Field(default_factory=dict)
    restore_time_limit_seconds: float = Field(default=6 * 3600, gt=0)

    repo_path: Path = Path("/var/lib/dbops-repository")
    repo_host: str | None = None
    repo_user: str = "dbops-repository"
    repo_password_file: Path | None = None
    repo_ssh_key: Path | None = None
    repo_known_hosts: Path | None = None

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
    migrate_ca_file: Path = Path("/etc/dbops/tls/ca.crt")
    migrate_proof_seconds: float = Field(default=24 * 3600, gt=0)

    scratch_dir: Path | None = None
    drill_check_tables: bool = True

    def require(self, name: str) -> Any:
        """Return the option ``name``; raise ConfigError when this target does not carry it."""
        value = getattr(self, name)
        if value is None:
            part = _PART_OF.get(name, "MySQL")
            raise ConfigError(
                f"The option {name!r} is missing: only the target of a {part} host has it, "
                "so run this there, or render the target again."
            )
        return value

    def require_path(self, name: str) -> Path:
        """Return the option ``name`` as a path; raise ConfigError when it is not set."""
        return Path(self.require(name))


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    try:
        options = Options.model_validate(target.options)
    except ValidationError as error:
        raise ConfigError(f"Target {target.cluster!r}: option {first_complaint(error)}.") from None
    if target.part == "drill" and options.scratch_dir is None:
        scratch = Path("/var/lib/dbops") / target.cluster / "scratch"
        options = options.model_copy(update={"scratch_dir": scratch})
    return options


def require_part(target: Target, *parts: str) -> None:
    """Raise ConfigError unless this host's part in the cluster is one of ``parts``."""
    if target.part not in parts:
        raise ConfigError(
            f"{target.member} is the {target.part} of {target.cluster!r}: "
            f"run this on its {' or '.join(parts)} host."
        )
