"""Hardening controls: what one is, what it finds, and how waivers are applied. Knows no engine.

Each engine has its own facts and rules; a control that cannot be looked at has failed.
"""

from __future__ import annotations

import pwd
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from dbops.contract import Control
from dbops.errors import ConfigError, DbopsError

Facts = TypeVar("Facts")
Wanted = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Finding:
    """What a control found: ``status`` before waivers are applied."""

    status: Literal["pass", "fail", "not applicable"]
    detail: str = ""


@dataclass(frozen=True)
class Rule(Generic[Facts]):
    """One control: its stable id, its title and the function that looks."""

    control_id: str
    title: str
    check: Callable[[Facts], Finding]


def ordered(*rules: Rule[Facts]) -> tuple[Rule[Facts], ...]:
    """Return the controls in the order of their ids."""
    return tuple(sorted(rules, key=lambda rule: rule.control_id))


def verdict(problems: Sequence[str], fine: str = "") -> Finding:
    """Return a failure that names the first problems, or a pass that says what was fine."""
    if not problems:
        return Finding("pass", fine)
    more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
    return Finding("fail", "; ".join(problems[:4]) + more)


def expect(settings: Mapping[str, str], wanted: Wanted) -> Finding:
    """Return whether each server setting has the value that is wanted, or one of several."""
    problems, fine = [], []
    for name, value in wanted.items():
        here, allowed = settings.get(name, ""), (value,) if isinstance(value, str) else value
        words = " or ".join(repr(one) for one in allowed)
        fine.append(f"{name}={here}")
        if here not in allowed:
            problems.append(f"{name} is {here or 'unset'!r} and not {words}")
    return verdict(problems, ", ".join(fine))


class HasSettings(Protocol):
    """A server as an auditor sees it."""

    @property
    def settings(self) -> Mapping[str, str]: ...


def settings(wanted: Wanted) -> Callable[[HasSettings], Finding]:
    """Return a control's function: each of these settings has its value, or one of several."""
    return lambda facts: expect(facts.settings, wanted)


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


HOST = "HO-"
"""How the ids of the controls begin that every host has (:mod:`.host_controls`)."""


def check_waivers(rules: Sequence[Rule[Facts]], waivers: Mapping[str, str]) -> None:
    """Raise ConfigError for a waiver of an unknown control or without a reason.

    Those of a host's controls are looked at with these, and not with an engine's.
    """
    known = [rule.control_id for rule in rules]
    for control_id, reason in waivers.items():
        if control_id.startswith(HOST) and not known[0].startswith(HOST):
            continue
        if control_id not in known:
            raise ConfigError(
                f"The audit waiver {control_id!r} names no control: use {known[0]} to {known[-1]}."
            )
        if not reason.strip():
            raise ConfigError(f"The audit waiver of {control_id} gives no reason: write one.")


def judge(
    rules: Sequence[Rule[Facts]],
    facts: Facts,
    waivers: Mapping[str, str],
    explain: Callable[[Exception], str | None] = lambda error: None,
) -> list[Control]:
    """Apply every control to ``facts``; a waiver counts only for one that does not pass.

    ``explain`` says in words what the engine's own exceptions mean, None for any other.
    """
    found = []
    for rule in rules:
        finding = _look(rule, facts, explain)
        waived = finding.status == "fail" and rule.control_id in waivers
        found.append(
            Control(
                control_id=rule.control_id,
                title=rule.title,
                status="waived" if waived else finding.status,
                detail=finding.detail,
                reason=waivers[rule.control_id] if waived else "",
            )
        )
    return found


def _look(rule: Rule[Facts], facts: Facts, explain: Callable[[Exception], str | None]) -> Finding:
    try:
        return rule.check(facts)
    except (DbopsError, OSError, ValueError, KeyError, IndexError) as error:
        return Finding("fail", f"cannot be checked: {error}")
    except Exception as error:
        words = explain(error)
        if words is None:
            raise
        return Finding("fail", f"cannot be checked: {words}")
