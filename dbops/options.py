"""What every engine's options share: reading them out of a target, and asking for one.

An engine's own model derives from :class:`EngineOptions`; one model serves every part of a
cluster, and an option that a part does not carry is None there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from dbops.errors import ConfigError
from dbops.targets import Model, Target, first_complaint


class EngineOptions(Model):
    """The settings of one cluster as seen from one host.

    ``PART_OF`` names the part whose target carries an option, for the message when it is asked for
    elsewhere. ``drill_user`` is the account of a drill host that restored data are handled by.
    """

    PART_OF: ClassVar[dict[str, str]] = {}

    drill_user: str = "dbops-drill"

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


Options = TypeVar("Options", bound=EngineOptions)


def read(model: type[Options], target: Target) -> Options:
    """Return the checked options of ``target``; ConfigError names the first that is wrong."""
    try:
        return model.model_validate(target.options)
    except ValidationError as error:
        raise ConfigError(f"Target {target.cluster!r}: option {first_complaint(error)}.") from None


def scratch_dir(target: Target) -> Path:
    """Return where a drill restores to when the target names no place."""
    return Path("/var/lib/dbops") / target.cluster / "scratch"


def require_part(target: Target, *parts: str) -> None:
    """Raise ConfigError unless this host's part in the cluster is one of ``parts``."""
    if target.part not in parts:
        raise ConfigError(
            f"{target.member} is the {target.part} of {target.cluster!r}: "
            f"run this on its {' or '.join(parts)} host."
        )
