"""Tests about the members of a MySQL or MariaDB cluster."""

from __future__ import annotations

from typing import Any


def follows(name: str, hostvars: Any, variable: str, peers: list[str]) -> bool:
    """Return whether host ``name`` replicates from one of ``peers``, by name or by address."""
    upstream = (hostvars[name].get(variable) or {}).get("upstream_host")
    known = {*peers, *(hostvars[peer].get("ansible_host") for peer in peers)}
    return upstream is not None and upstream in known


class TestModule:
    """What Ansible looks for."""

    def tests(self) -> dict[str, object]:
        """Return the tests by name."""
        return {"dbops_mysql_follows": follows}
