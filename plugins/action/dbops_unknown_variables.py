"""Refuse misspelt variables: Ansible itself lets them pass in silence. Runs on the controller."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Compare the host's variables that start with a prefix with those the role's specs know."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result that names each unknown variable and the nearest known one."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        prefix = self._task.args["prefix"]
        specs = yaml.safe_load(Path(self._task.args["specs"]).read_text())["argument_specs"]
        known = {name for entry in specs.values() for name in entry.get("options", {})}
        given = {str(name) for name in task_vars or {} if str(name).startswith(prefix)}
        complaints = []
        for name in sorted(given - known):
            near = difflib.get_close_matches(name, known, n=1)
            complaints.append(f"{name}" + (f" (did you mean {near[0]}?)" if near else ""))
        if complaints:
            result["failed"] = True
            result["msg"] = (
                "Unknown variable in the inventory: "
                + ", ".join(complaints)
                + ". Nothing was changed."
            )
        result["changed"] = False
        return result
