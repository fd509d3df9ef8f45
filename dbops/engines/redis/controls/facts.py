"""What a control may look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbops.engines.redis.client import Argument, text
from dbops.engines.redis.options import Options
from dbops.targets import Target

CONTAINER = Path("/run/systemd/container")
"""systemd writes the kind of container there, if it is in one."""

SERVICE_USERS = ("dbops_replication", "dbops_sentinel", "dbops_migrate")
"""Accounts of the kit that must be able to more than read; each has a control of its own."""


@dataclass(frozen=True)
class User:
    """One account as the server has it. ``commands`` and ``keys`` are its rules, selectors' too."""

    name: str
    enabled: bool
    without_password: bool
    passwords: tuple[str, ...]
    commands: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """One member as an auditor sees it: its settings, its accounts, its files.

    ``ask`` sends one command as the administrator; ``process`` is the server's.
    """

    target: Target
    options: Options
    settings: dict[str, str]
    info: dict[str, str]
    users: tuple[User, ...]
    process: int
    ask: Callable[..., Any]
    proc: Path = field(default=Path("/proc"))
    sys: Path = field(default=Path("/sys"))
    container: Path = field(default=CONTAINER)

    def setting(self, name: str) -> str:
        """Return a server setting, empty when this version has no such one."""
        return self.settings.get(name, "")

    def in_container(self) -> bool:
        """Tell whether the kernel belongs to a machine around this host."""
        return self.container.exists()

    def address(self) -> str:
        """Return the address of this member."""
        return self.options.hosts.get(self.target.member, "127.0.0.1")

    def ordinary(self) -> list[User]:
        """Return the enabled accounts that are neither administrators nor the kit's own movers."""
        special = {*self.options.admins, *SERVICE_USERS}
        return [user for user in self.users if user.enabled and user.name not in special]

    def may(self, user: str, *command: Argument) -> bool:
        """Tell whether an account may send a command; ValueError when the server does not say."""
        said = text(self.ask("ACL", "DRYRUN", user, *command))
        if said == "OK":
            return True
        if "no permission" in said:
            return False
        raise ValueError(f"ACL DRYRUN says {said!r}")


def user(name: str, about: dict[str, Any]) -> User:
    """Return an account out of what ``ACL GETUSER`` answers."""
    flags = {text(one) for one in about["flags"]}
    parts = [about, *(_pairs(one) for one in about.get("selectors") or ())]
    return User(
        name=name,
        enabled="on" in flags,
        without_password="nopass" in flags,
        passwords=tuple(text(one) for one in about["passwords"]),
        commands=tuple(text(part["commands"]) for part in parts),
        keys=tuple(text(part["keys"]) for part in parts),
    )


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
