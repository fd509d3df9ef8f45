"""Commands of a server under names that only its host knows, so that its primary cannot give them.

A replica carries out whatever its primary streams, without asking its accounts. A command without
its own name is not in that stream: https://redis.io/docs/latest/operate/oss_and_stack/management/security/
"""

from __future__ import annotations

import re
import secrets

_LINE = re.compile(r'rename-command (\S+) "([0-9a-f]*)"')


def text(hidden: list[str], removed: list[str], before: str) -> str:
    """Return the configuration that hides and removes commands; names in ``before`` stay."""
    known = names_in(before)
    lines = ["# Managed by dbops. Not to be shown to anybody: these are the names of commands."]
    for command in sorted(hidden):
        lines.append(f'rename-command {command} "{known.get(command) or secrets.token_hex(20)}"')
    lines += [f'rename-command {command} ""' for command in sorted(removed)]
    return "".join(f"{line}\n" for line in lines)


def names_in(configuration: str) -> dict[str, str]:
    """Return the secret names by the commands' own."""
    found = (_LINE.fullmatch(line.strip()) for line in configuration.splitlines())
    return {match[1]: match[2] for match in found if match and match[2]}


def read(path: str) -> dict[str, str]:
    """Return the secret names in the file ``path``; none when there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return names_in(stream.read())
    except FileNotFoundError:
        return {}


def masked(configuration: str) -> list[str]:
    """Return the lines with every name left out."""
    return [_LINE.sub(lambda found: _shown(found), line) for line in configuration.splitlines()]


def _shown(found: re.Match[str]) -> str:
    return f"rename-command {found[1]} {'(a secret name)' if found[2] else '(none)'}"
