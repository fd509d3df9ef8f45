"""How to reach the hosts of an Ansible inventory, as the inventory itself says."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dbops.errors import ConfigError, DbopsError


@dataclass(frozen=True)
class Host:
    """One host: where it is, who we are there, and the files that prove both sides."""

    name: str
    address: str
    port: int
    user: str
    key_file: Path | None
    known_hosts: tuple[Path, ...]


def hosts(inventory: Path, limit: str | None = None) -> list[Host]:
    """Return the hosts of ``inventory`` that match ``limit``, templates resolved, sorted by name.

    Raises ConfigError when it cannot be read or nothing matches.
    """
    if not inventory.exists():
        raise ConfigError(f"No inventory at {inventory}.")
    try:
        found = [_host(name, variables) for name, variables in _variables(inventory, limit)]
    except DbopsError:
        raise
    except Exception as error:  # Ansible's errors have many unrelated classes
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"Inventory {inventory} cannot be used: {first[0].rstrip('.')}."
        ) from None
    if not found:
        raise ConfigError(f"No host of {inventory} matches {limit or 'all'!r}.")
    return sorted(found, key=lambda host: host.name)


_ASKED = (
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)


def _variables(inventory: Path, limit: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    # That nothing matches is said by our own sentence.
    os.environ.setdefault("ANSIBLE_HOST_PATTERN_MISMATCH", "ignore")
    try:
        from ansible.inventory.manager import InventoryManager
        from ansible.parsing.dataloader import DataLoader
        from ansible.template import Templar
        from ansible.vars.manager import VariableManager
    except ImportError:
        raise ConfigError(
            "Ansible is not installed here: pip install 'dbops[control]' on the controller."
        ) from None
    _load_plugins()
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=[str(inventory.resolve())])
    variables = VariableManager(loader=loader, inventory=manager)
    for host in manager.get_hosts(limit or "all"):
        known = variables.get_vars(host=host, include_hostvars=False)
        templar = Templar(loader=loader, variables=known)
        yield (
            host.name,
            {name: templar.template(known[name]) for name in _ASKED if known.get(name) is not None},
        )


@cache
def _load_plugins() -> None:
    """Ansible takes this only once in a process."""
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()


def _host(name: str, variables: dict[str, Any]) -> Host:
    options = [
        option
        for source in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
        for option in _ssh_options(str(variables.get(source, "")))
    ]
    known = next((value for key, value in options if key.lower() == "userknownhostsfile"), None)
    user = next((value for key, value in options if key.lower() == "user"), "root")
    key = variables.get("ansible_ssh_private_key_file") or variables.get("ansible_private_key_file")
    files = shlex.split(known) if known else ["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"]
    return Host(
        name=name,
        address=str(variables.get("ansible_host", name)),
        port=int(variables.get("ansible_port", 22)),
        user=str(variables.get("ansible_user", user)),
        key_file=Path(str(key)).expanduser() if key else None,
        known_hosts=tuple(Path(file).expanduser() for file in files),
    )


def _ssh_options(arguments: str) -> Iterator[tuple[str, str]]:
    """Yield the ``-o key=value`` pairs of an ssh command line."""
    words = iter(shlex.split(arguments))
    for word in words:
        if word == "-o":
            word = next(words, "")
        elif word.startswith("-o"):
            word = word[2:]
        else:
            continue
        key, _, value = (
            word.replace(" ", "=", 1).partition("=") if "=" not in word else (word.partition("="))
        )
        yield key.strip(), value.strip()
