"""What controls of several engines look at on a member in the same way: packages and data.

What is *not* here: a control's id and title, which each engine has of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from dbops import runner
from dbops.audit.rules import Finding, permissions, verdict
from dbops.options import EngineOptions

_POLICY = re.compile(r"^\s+(Installed|Candidate): (\S+)", re.MULTILINE)


class Member(Protocol):
    """A member as an auditor sees it."""

    @property
    def options(self) -> EngineOptions: ...


def package(name: str) -> list[str]:
    """Return what is wrong with a package: not installed, or not the newest to be had."""
    if not Path("/usr/bin/apt-cache").exists():
        return []
    said = runner.check(runner.Command(("apt-cache", "policy", name), timeout_seconds=60)).stdout
    found = dict(_POLICY.findall(said))
    installed, candidate = found.get("Installed", "(none)"), found.get("Candidate", "(none)")
    if installed == "(none)":
        return [f"the package {name} is not what runs here"]
    return [f"{name} {candidate} is available"] if installed != candidate else []


def data_directory(facts: Member) -> Finding:
    """Look at who owns the data directory, and whether it is closed to others."""
    place = facts.options.require_path("data_dir")
    return verdict(permissions(place, {facts.options.os_user}, 0o750), f"{place}")
