"""The options of a MySQL or MariaDB target: what the role renders under ``options``.

What is *not* here: a secret, only the paths of the option files that hold them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from dbops.options import Port, ResticOptions, require_part
from dbops.options import read as read_options
from dbops.targets import Target

__all__ = ["Flavor", "Options", "read", "require_part"]

Flavor = Literal["mariadb", "mysql"]
SettingName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
SettingValue = Annotated[str, StringConstraints(pattern=r"^[\w+:.,;@%= -]*$")]
"""One line of an option file that names no path."""


class Options(ResticOptions):
    """Settings of one cluster as seen from one host.

    ``drill_settings`` are those of the cluster that change what statements and files mean.
    A ``*_file`` is an option file with ``user``, ``password`` and ``ssl-*`` under ``[client]``.
    """

    PART_OF: ClassVar[dict[str, str]] = ResticOptions.PART_OF | {
        "backup_file": "repository",
        "binlog_file": "repository",
        "binlog_dir": "repository",
        "stream_key": "repository",
        "stream_known_hosts": "repository",
    }

    flavor: Flavor = "mariadb"
    port: Port = 3306
    os_user: str = "mysql"

    socket: Path = Path("/run/mysqld/mysqld.sock")
    config_file: Path = Path("/etc/mysql/dbops.cnf")
    heartbeat_schema: str = "dbops"
    tls_key: Path = Path("/etc/dbops/tls/host.key")
    administrators: tuple[str, ...] = ()

    repo_password_file: Path = Path("/etc/dbops/secrets/mysql-repository.key")
    repo_known_hosts: Path = Path("/etc/dbops/known_hosts/mysql")

    backup_file: Path | None = None
    binlog_file: Path | None = None
    binlog_dir: Path | None = None
    stream_user: str = "dbops-stream"
    stream_key: Path | None = None
    stream_known_hosts: Path | None = None

    migrate_port: Port = 3306
    migrate_file: Path | None = None

    drill_check_tables: bool = True
    drill_settings: dict[SettingName, SettingValue] = Field(default_factory=dict)


def read(target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    return read_options(Options, target)
