"""What every engine's options share: their fields, reading them out of a target, asking for one.

An engine's own model derives from :class:`EngineOptions`, or from :class:`ResticOptions` when its
repository is restic's; one model serves every part of a cluster, and an option that a part does not
carry is None there. What is *not* here: a secret, only the paths of files that hold one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, ValidationError

from dbops.errors import ConfigError
from dbops.manifest import Kind
from dbops.targets import Model, Target, first_complaint

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class EngineOptions(Model):
    """The settings of one cluster as seen from one host; what has no default, an engine gives one.

    ``PART_OF`` names the part whose target carries an option, for the message when it is asked for
    elsewhere. ``hosts`` maps each member to the address on which it answers, and ``migrate_hosts``
    those of the other cluster of a migration. ``os_user`` is the account that the server, or the
    tool of backups, runs under on this host, ``agent_user`` the one of the exporter and the
    heartbeat, ``drill_user`` the one of a drill host that restored data are handled by.
    """

    PART_OF: ClassVar[dict[str, str]] = {
        "data_dir": "member",
        "service": "member",
        "scratch_dir": "drill",
    }

    port: Port
    os_user: str
    agent_user: str = "dbops"
    hosts: dict[str, str] = Field(default_factory=dict)

    data_dir: Path | None = None
    service: str | None = None
    ca_file: Path = Path("/etc/dbops/tls/ca.crt")
    tls_certificate: Path = Path("/etc/dbops/tls/host.crt")
    heartbeat_interval_seconds: Seconds = 2
    audit_waivers: dict[str, str] = Field(default_factory=dict)
    restore_time_limit_seconds: Seconds = 6 * 3600

    repo_path: Path
    schedule_interval_seconds: dict[Kind, float] = Field(default_factory=dict)
    minimum_redundancy: int = Field(default=1, ge=0)

    migrate_hosts: dict[str, str] = Field(default_factory=dict)
    migrate_port: Port
    migrate_proof_seconds: Seconds = 24 * 3600

    scratch_dir: Path | None = None
    drill_user: str = "dbops-drill"
    drill_interval_seconds: float | None = None

    def require(self, name: str) -> Any:
        """Return the option ``name``; raise ConfigError when this target does not carry it."""
        value = getattr(self, name)
        if value is None:
            part = self.PART_OF.get(name, "another")
            raise ConfigError(
                f"The option {name!r} is missing: only the target of a {part} host has it, "
                "so run this there, or render the target again."
            )
        return value

    def require_path(self, name: str) -> Path:
        """Return the option ``name`` as a path; raise ConfigError when it is not set."""
        return Path(self.require(name))

    def address(self, member: str) -> tuple[str, int]:
        """Return where a member answers by TCP, loopback when the target does not say."""
        return self.hosts.get(member, "127.0.0.1"), self.port


class ResticOptions(EngineOptions):
    """What a cluster has besides when its repository is restic's.

    On the repository host ``repo_host`` is None and ``repo_path`` is on this disk. Elsewhere
    ``repo_path`` is as SFTP shows it, ``/<cluster>/restic``. ``repo_user`` is the account that
    restic runs as on the repository host, and that SFTP logs in as elsewhere.
    """

    repo_path: Path = Path("/var/lib/dbops-repository")
    repo_host: str | None = None
    repo_user: str = "dbops-repository"
    repo_password_file: Path
    repo_ssh_key: Path = Path("/etc/dbops/secrets/repository.ssh")
    repo_known_hosts: Path
    keep_full: int = Field(default=7, ge=1)


Options = TypeVar("Options", bound=EngineOptions)


def read(model: type[Options], target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong.

    A drill restores below ``/var/lib/dbops`` when its host's target names no place.
    """
    try:
        found = model.model_validate(target.options)
    except ValidationError as error:
        raise ConfigError(f"Target {target.cluster!r}: option {first_complaint(error)}.") from None
    if target.part == "drill" and found.scratch_dir is None:
        place = Path("/var/lib/dbops") / target.cluster / "scratch"
        found = found.model_copy(update={"scratch_dir": place})
    return found


def require_part(target: Target, *parts: str) -> None:
    """Raise ConfigError unless this host's part in the cluster is one of ``parts``."""
    if target.part not in parts:
        raise ConfigError(
            f"{target.member} is the {target.part} of {target.cluster!r}: "
            f"run this on its {' or '.join(parts)} host."
        )
