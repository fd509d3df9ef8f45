"""Reading the grid: roles, their specs, defaults and tasks, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ROLES = tuple(sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()))
PLAYS = tuple(
    sorted(
        path.stem
        for path in (ROOT / "playbooks").glob("*.yml")
        if path.stem not in ("site", "mirror")  # not about a cluster's hosts: no verb
    )
)
_BLOCKS = ("block", "rescue", "always")
_NOT_MODULES = frozenset(
    {
        "always", "any_errors_fatal", "args", "async", "become", "become_user", "block",
        "changed_when", "check_mode", "delay", "delegate_facts", "delegate_to", "diff",
        "environment", "failed_when", "ignore_errors", "listen", "loop", "loop_control",
        "module_defaults", "name", "no_log", "notify", "poll", "register", "rescue", "retries",
        "run_once", "tags", "throttle", "timeout", "until", "vars", "when",
    }
)  # fmt: skip


class _Loader(yaml.SafeLoader):
    """A loader that takes Ansible's own tags as plain text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


@dataclass(frozen=True)
class Task:
    """One task: where it stands, its keywords, and whether it or a block around it hides output."""

    file: Path
    keywords: Mapping[str, Any]
    hidden: bool

    @property
    def where(self) -> str:
        """The task as a person would look for it."""
        return f"{self.file.relative_to(ROOT)}: {self.keywords.get('name', '(no name)')}"

    @property
    def module(self) -> str:
        """The module's short name."""
        names = [key for key in self.keywords if key not in _NOT_MODULES]
        return names[0].rpartition(".")[2] if names else ""

    @property
    def arguments(self) -> Any:
        """What the module is given."""
        names = [key for key in self.keywords if key not in _NOT_MODULES]
        return self.keywords[names[0]] if names else None


def load(path: Path) -> Any:
    """Return the YAML in ``path``, None when there is no such file."""
    if not path.is_file():
        return None
    return _Loader(path.read_text(encoding="utf-8")).get_single_data()


def specs(role: str) -> dict[str, Any]:
    """Return the entry points of a role's argument specs."""
    found = load(ROOT / "roles" / role / "meta" / "argument_specs.yml") or {}
    entries: dict[str, Any] = found.get("argument_specs", {})
    return entries


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return every option of every entry point of a role."""
    return {
        name: option
        for entry in specs(role).values()
        for name, option in (entry.get("options") or {}).items()
    }


def defaults(role: str) -> dict[str, Any]:
    """Return a role's default variables."""
    return load(ROOT / "roles" / role / "defaults" / "main.yml") or {}


def tasks(role: str, folder: str = "tasks") -> Iterator[Task]:
    """Yield every task of a role, those inside blocks, too."""
    for file in sorted((ROOT / "roles" / role / folder).glob("*.yml")):
        yield from _walk(file, load(file) or [], hidden=False)


def _walk(file: Path, listed: list[dict[str, Any]], *, hidden: bool) -> Iterator[Task]:
    for keywords in listed:
        here = hidden or keywords.get("no_log") is True
        inside = [key for key in _BLOCKS if key in keywords]
        for key in inside:
            yield from _walk(file, keywords[key], hidden=here)
        if not inside:
            yield Task(file, keywords, here)
