"""Filters for public keys that hosts say are theirs, before they go into a file of another host.

A host may have been taken over. What it says is used if it is exactly one public key, and nothing
of it but the two words that make the key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]{68}")


def public_key(read: Mapping[str, Any], host: str) -> str:
    """Return the Ed25519 key that slurp ``read`` on ``host``, two words; '' if it found no file."""
    content = (read or {}).get("content")
    if not content:
        return ""
    lines = base64.b64decode(content).decode("utf-8", "replace").rstrip("\n").split("\n")
    key = " ".join(lines[0].split(" ")[:2])
    if len(lines) != 1 or not _KEY.fullmatch(key) or not lines[0].isprintable():
        raise AnsibleFilterError(
            f"What {host} gives as a public key ({read.get('source', 'its file')}) is not one line "
            "with one Ed25519 key, so nothing was written: look who changed it there, remove it "
            "and run again."
        )
    return key


def known_host(host: Mapping[str, Any], variable: str) -> str:
    """Return the line of a list of known hosts for ``host``, its variables; '' without a key.

    ``variable`` names what slurp read of its public key.
    """
    key = public_key(host.get(variable) or {}, host["inventory_hostname"])
    return f"{host['ansible_host']} {key}\n" if key else ""


def known_hosts(hosts: list[Mapping[str, Any]], variable: str, former: Mapping[str, Any]) -> str:
    """Return a list of known hosts, one line for each of ``hosts`` with a key.

    One that this run did not ask, or could not reach, keeps its line of ``former``, the file as
    slurp read it.
    """
    text = base64.b64decode((former or {}).get("content") or "").decode("utf-8", "replace")
    kept = {line.split(" ")[0]: f"{line}\n" for line in text.split("\n") if line}
    return "".join(
        known_host(host, variable) or kept.get(host["ansible_host"], "") for host in hosts
    )


def readers(results: list[dict[str, Any]], former: Mapping[str, Any], host: str) -> str:
    """Return the file of keys that may read a repository, one line for each reader with a key.

    ``results`` are slurp's, with the reader's name in ``reader``. A reader that could not be
    reached keeps its line of ``former``, the file as slurp read it on ``host``.
    """
    known = _known(base64.b64decode((former or {}).get("content") or "").decode("utf-8", "replace"))
    lines = []
    for result in results:
        name = result["reader"]
        key = known.get(name, "") if result.get("unreachable") else public_key(result, name)
        if key:
            lines.append(f"restrict {key} {name}\n")
    return "".join(lines)


def _known(text: str) -> dict[str, str]:
    found = {}
    for line in text.split("\n"):
        words = line.split(" ")
        if len(words) == 4 and words[0] == "restrict" and _KEY.fullmatch(" ".join(words[1:3])):
            found[words[3]] = " ".join(words[1:3])
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_public_key": public_key,
            "dbops_known_host": known_host,
            "dbops_known_hosts": known_hosts,
            "dbops_readers": readers,
        }
