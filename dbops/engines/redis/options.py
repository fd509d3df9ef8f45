"""The options of a Redis or Valkey target: what the role renders under ``options``.

One model for every part of a cluster; an option that a part does not carry is None there, and
asking for it with :meth:`Options.require` says which part's target has it. Passwords are never
here, only the paths of files that hold one each.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dbops import options
from dbops.manifest import Kind
from dbops.targets import Target

_SECRETS = Path("/etc/dbops/secrets")


class Options(options.EngineOptions):
    """Settings of one Redis or Valkey cluster as seen from one host.

    ``hosts`` maps each member to the address on which it answers, ``sentinels`` each Sentinel's
    host to its own. ``os_user`` is the account that the server runs under on this host, and
    ``agent_user`` the one of the exporter and the heartbeat. Servers show ``tls_certificate`` to
    clients and ``link_certificate`` to other servers; dbops shows ``agent_certificate``.
    ``granted`` are the commands that an application was given beyond an application's.
    ``migrate_hosts`` are the members of the other cluster of a migration.
    """

    PART_OF: ClassVar[dict[str, str]] = {
        "data_dir": "member",
        "config_file": "member",
        "acl_file": "member",
        "socket": "member",
        "service": "member",
        "admin_password_file": "member",
        "replica_dir": "repository",
        "replica_socket": "repository",
        "replica_service": "repository",
        "replica_commands_file": "repository",
        "backup_password_file": "repository",
        "stage_dir": "repository",
        "scratch_dir": "drill",
    }

    flavor: Literal["redis", "valkey"] = "redis"
    purpose: Literal["store", "cache"] = "store"
    port: int = Field(default=6379, ge=1, le=65535)
    bin_dir: Path = Path("/usr/bin")
    os_user: str = "redis"
    agent_user: str = "dbops"
    hosts: dict[str, str] = Field(default_factory=dict)
    ca_file: Path = Path("/etc/dbops/tls/ca.crt")

    data_dir: Path | None = None
    config_file: Path | None = None
    acl_file: Path | None = None
    socket: Path | None = None
    service: str | None = None
    admin_user: str = "dbops_admin"
    admin_password_file: Path | None = None
    monitor_user: str = "dbops_monitor"
    monitor_password_file: Path | None = None
    heartbeat_user: str = "dbops_heartbeat"
    heartbeat_password_file: Path | None = None
    heartbeat_interval_seconds: float = Field(default=2, gt=0)
    tls_certificate: Path = Path("/etc/dbops/tls/host.crt")
    link_certificate: Path = Path("/etc/dbops/tls/client.crt")
    link_key: Path = Path("/etc/dbops/tls/client.key")
    agent_certificate: Path = Path("/etc/dbops/tls/agent.crt")
    agent_key: Path = Path("/etc/dbops/tls/agent.key")
    audit_waivers: dict[str, str] = Field(default_factory=dict)
    admins: tuple[str, ...] = ("dbops_admin",)
    users: tuple[str, ...] = ()
    granted: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    expected_settings: dict[str, str] = Field(default_factory=dict)
    restore_time_limit_seconds: float = Field(default=6 * 3600, gt=0)

    sentinel_name: str | None = None
    sentinels: dict[str, str] = Field(default_factory=dict)
    sentinel_port: int = Field(default=26379, ge=1, le=65535)
    sentinel_user: str = "dbops_sentinel"
    sentinel_password_file: Path | None = None
    sentinel_config_file: Path | None = None

    replica_dir: Path | None = None
    replica_socket: Path | None = None
    replica_service: str | None = None
    replica_commands_file: Path | None = None
    replica_settings: dict[str, str] = Field(default_factory=dict)
    backup_user: str = "dbops_backup"
    backup_password_file: Path | None = None
    stage_dir: Path | None = None
    schedule_interval_seconds: dict[Kind, float] = Field(default_factory=dict)
    backup_keep_full: int = Field(default=7, ge=1)
    replica_wait_seconds: float = Field(default=60, gt=0)
    minimum_redundancy: int = Field(default=1, ge=0)
    drill_interval_seconds: float | None = None

    repo_path: Path = Path("/var/lib/dbops-repository")
    repo_host: str | None = None
    repo_user: str = "dbops-repository"
    repo_password_file: Path = _SECRETS / "redis-repository.key"
    repo_ssh_key: Path = _SECRETS / "repository.ssh"
    repo_known_hosts: Path = Path("/etc/dbops/known_hosts/redis")

    migrate_hosts: dict[str, str] = Field(default_factory=dict)
    migrate_port: int = Field(default=6379, ge=1, le=65535)
    migrate_user: str = "dbops_migrate"
    migrate_password_file: Path = _SECRETS / "redis-migrate.password"
    migrate_ca_file: Path = Path("/etc/dbops/tls/ca.crt")
    migrate_proof_seconds: float = Field(default=24 * 3600, gt=0)

    scratch_dir: Path | None = None

    @property
    def server(self) -> Path:
        """The server's program."""
        return self.bin_dir / f"{self.flavor}-server"

    def tool(self, name: str) -> Path:
        """Return the path of one of the tools: ``check-rdb`` or ``check-aof``."""
        return self.bin_dir / f"{self.flavor}-{name}"


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    found = options.read(Options, target)
    if target.part == "drill" and found.scratch_dir is None:
        found = found.model_copy(update={"scratch_dir": options.scratch_dir(target)})
    return found
