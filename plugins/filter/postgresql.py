"""Filters of the postgresql role: grants, password file lines and names of slots."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_SLOT_LENGTH = 63


def connect_grant(pair: tuple[str, str]) -> dict[str, Any]:
    """Return the grant of CONNECT to the role of ``pair`` on the database of ``pair``."""
    return {"role": pair[0], "database": pair[1], "privileges": ["CONNECT"]}


def function_grant(signature: str, role: str, database: str = "postgres") -> dict[str, Any]:
    """Return the grant of EXECUTE on one function to ``role``."""
    return {"role": role, "database": database, "function": signature, "privileges": ["EXECUTE"]}


def pgpass_line(password: str, role: str) -> str:
    """Return a line of a password file for ``role`` anywhere, escaped as libpq expects it."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{role}:{escaped}\n"


def slot(member: str) -> str:
    """Return the name of the replication slot of ``member``, a host as the inventory names it.

    A slot's name has letters, digits and underscores, 63 at most (PostgreSQL 15, 27.2.6): a longer
    one ends with a part of its checksum.
    """
    name = "dbops_" + re.sub("[^a-z0-9_]", "_", member.lower())
    if len(name) <= _SLOT_LENGTH:
        return name
    return f"{name[: _SLOT_LENGTH - 9]}_{hashlib.sha256(member.encode()).hexdigest()[:8]}"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_connect_grant": connect_grant,
            "dbops_function_grant": function_grant,
            "dbops_pgpass_line": pgpass_line,
            "dbops_slot": slot,
        }
