"""Filters of the postgresql role: grants out of shorter lists, and password file lines."""

from __future__ import annotations

from typing import Any


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


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_connect_grant": connect_grant,
            "dbops_function_grant": function_grant,
            "dbops_pgpass_line": pgpass_line,
        }
