"""Settings of a running server, brought to what is declared; those that wait for a restart told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .client import Client, RedisError

_UNITS = {
    "": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3,
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+)([kmg]?b?)")


@dataclass
class Outcome:
    """What was changed or would be, and what only a restart can change."""

    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    pending_restart: list[str] = field(default_factory=list)


def plain(value: object) -> str:
    """Return a value in the form in which two spellings of one value are equal."""
    text = " ".join(str(value).strip().strip('"').split()).lower()
    found = _AMOUNT.fullmatch(text)
    return str(int(found.group(1)) * _UNITS[found.group(2)]) if found else text


def converge(
    client: Client, settings: dict[str, str], secret: list[str], check_mode: bool
) -> Outcome:
    """Set what differs; return what did. RedisError names a setting that the server lacks."""
    outcome = Outcome()
    for name, wanted in sorted(settings.items()):
        now = client.table("CONFIG", "GET", name)
        if name not in now:
            raise RedisError(f"this server has no setting {name}: remove it from the variables")
        if plain(now[name]) == plain(wanted):
            continue
        if not check_mode and not _set(client, name, wanted):
            outcome.pending_restart.append(name)
            continue
        shown = ("(another secret)", "(the secret)") if name in secret else (now[name], wanted)
        outcome.before.append(f"{name} {shown[0]}")
        outcome.after.append(f"{name} {shown[1]}")
        outcome.actions.append(f"set {name}")
    return outcome


def _set(client: Client, name: str, value: str) -> bool:
    """Set it and return True, or return False when only a restart can."""
    answer = client.ask("CONFIG", "SET", name, value)
    if not isinstance(answer, RedisError):
        return True
    if "immutable" in str(answer) or "protected" in str(answer):
        return False
    raise RedisError(f"{name} cannot be {value}: {answer}")
