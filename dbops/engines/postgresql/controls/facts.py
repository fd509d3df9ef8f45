"""What a control may look at, and what it answers."""

from __future__ import annotations

import pwd
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dbops.engines.postgresql.options import Options
from dbops.targets import Target

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Facts:
    """One member as an auditor sees it: its settings, its SQL, its files.

    ``rows`` runs a query, in the database ``postgres`` unless another one is named.
    """

    target: Target
    options: Options
    settings: dict[str, str]
    databases: tuple[str, ...]
    standby: bool
    rows: Callable[..., Sequence[Row]]
    proc: Path = field(default=Path("/proc"))
    etc: Path = field(default=Path("/etc"))

    def setting(self, name: str) -> str:
        """Return a server setting, empty when this version has no such one."""
        return self.settings.get(name, "")

    def preloaded(self) -> set[str]:
        """Return the libraries that the server loads at its start."""
        return {part.strip() for part in self.setting("shared_preload_libraries").split(",")}

    def home(self) -> Path:
        """Return the home of the server's account."""
        return Path(pwd.getpwnam(self.options.os_user).pw_dir)

    def postmaster(self) -> int:
        """Return the process id of the server; OSError when it cannot be told."""
        text = (self.options.require_path("data_dir") / "postmaster.pid").read_text()
        return int(text.split("\n", 1)[0])


@dataclass(frozen=True)
class Finding:
    """What a control found: ``status`` before waivers are applied."""

    status: Literal["pass", "fail", "not applicable"]
    detail: str = ""


@dataclass(frozen=True)
class Rule:
    """One control: its stable id, its title and the function that looks."""

    control_id: str
    title: str
    check: Callable[[Facts], Finding]


def verdict(problems: Sequence[str], fine: str = "") -> Finding:
    """Return a failure that names the first problems, or a pass that says what was fine."""
    if not problems:
        return Finding("pass", fine)
    more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
    return Finding("fail", "; ".join(problems[:4]) + more)


def expect(facts: Facts, wanted: dict[str, str]) -> Finding:
    """Return whether each server setting has the one value that is wanted."""
    problems = [
        f"{name} is {facts.setting(name) or 'unset'!r} and not {value!r}"
        for name, value in wanted.items()
        if facts.setting(name) != value
    ]
    return verdict(problems, ", ".join(f"{name}={value}" for name, value in wanted.items()))


def permissions(path: Path, owners: set[str], allowed: int) -> list[str]:
    """Return what is wrong with a file's owner and mode, at most ``allowed``; OSError if absent."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    problems = []
    if mode & ~allowed:
        problems.append(f"{path} has mode {mode:04o}, more than {allowed:04o}")
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    if owner not in owners:
        problems.append(f"{path} belongs to {owner}")
    return problems
