"""Tests about the members of a cluster."""

from __future__ import annotations

from typing import Any


def member_is(name: str, hostvars: Any, variable: str, wanted: dict[str, Any]) -> bool:
    """Return whether what ``variable`` holds for host ``name`` has every value of ``wanted``."""
    state = hostvars[name].get(variable) or {}
    return all(state.get(key) == value for key, value in wanted.items())


def of_cluster(name: str, hostvars: Any, engine: str, cluster: str) -> bool:
    """Return whether host ``name`` belongs to the cluster ``cluster`` of ``engine``."""
    its = hostvars[name]
    return bool(its.get("dbops_engine") == engine and its.get("dbops_cluster") == cluster)


class TestModule:
    """What Ansible looks for."""

    def tests(self) -> dict[str, object]:
        """Return the tests by name."""
        return {"dbops_member_is": member_is, "dbops_of_cluster": of_cluster}
