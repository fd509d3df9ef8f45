"""The options of a Redis or Valkey target: what the role renders under ``options``.

What is *not* here: a password, only the paths of files that hold one each.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dbops import options
from dbops.options import Port, ResticOptions, Seconds
from dbops.targets import Target

_SECRETS = Path("/etc/dbops/secrets")


class Options(ResticOptions):
    """Settings of one Redis or Valkey cluster as seen from one host.

    ``sentinels`` maps each Sentinel's host to its address. Servers show ``tls_certificate`` to
    clients and ``link_certificate`` to other servers; dbops shows ``agent_certificate``.
    ``granted`` are the commands that an application was given beyond an application's.
    """

    PART_OF: ClassVar[dict[str, str]] = ResticOptions.PART_OF | {
        "config_file": "member",
        "acl_file": "member",
        "socket": "member",
        "admin_password_file": "member",
        "replica_dir": "repository",
        "replica_socket": "repository",
        "replica_service": "repository",
        "replica_commands_file": "repository",
        "backup_password_file": "repository",
        "stage_dir": "repository",
    }

    flavor: Literal["redis", "valkey"] = "redis"
    purpose: Literal["store", "cache"] = "store"
    port: Port = 6379
    bin_dir: Path = Path("/usr/bin")
    os_user: str = "redis"

    config_file: Path | None = None
    acl_file: Path | None = None
    socket: Path | None = None
    admin_user: str = "dbops_admin"
    admin_password_file: Path | None = None
    monitor_user: str = "dbops_monitor"
    monitor_password_file: Path | None = None
    heartbeat_user: str = "dbops_heartbeat"
    heartbeat_password_file: Path | None = None
    link_certificate: Path = Path("/etc/dbops/tls/client.crt")
    link_key: Path = Path("/etc/dbops/tls/client.key")
    agent_certificate: Path = Path("/etc/dbops/tls/agent.crt")
    agent_key: Path = Path("/etc/dbops/tls/agent.key")
    admins: tuple[str, ...] = ("dbops_admin",)
    users: tuple[str, ...] = ()
    granted: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    expected_settings: dict[str, str] = Field(default_factory=dict)

    sentinel_name: str | None = None
    sentinels: dict[str, str] = Field(default_factory=dict)
    sentinel_port: Port = 26379
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
    replica_wait_seconds: Seconds = 60

    repo_password_file: Path = _SECRETS / "redis-repository.key"
    repo_known_hosts: Path = Path("/etc/dbops/known_hosts/redis")

    migrate_port: Port = 6379
    migrate_user: str = "dbops_migrate"
    migrate_password_file: Path = _SECRETS / "redis-migrate.password"
    migrate_ca_file: Path = Path("/etc/dbops/tls/ca.crt")

    @property
    def server(self) -> Path:
        """The server's program."""
        return self.bin_dir / f"{self.flavor}-server"

    def tool(self, name: str) -> Path:
        """Return the path of one of the tools: ``check-rdb`` or ``check-aof``."""
        return self.bin_dir / f"{self.flavor}-{name}"


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    return options.read(Options, target)
