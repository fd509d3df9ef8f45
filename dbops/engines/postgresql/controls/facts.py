"""What a control may look at."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
