"""Refuse variables that a role does not know or cannot take. Runs on the controller.

Ansible lets misspelt ones pass in silence, and validates the others in a process of its own for
each part of a role on each host: this does both once.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action.validate_argument_spec import ActionModule as Validation

Options = dict[str, dict[str, Any]]


class ActionModule(Validation):
    """Compare the host's variables with the specs of a role and of what it is built on."""

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result that names what is unknown, missing or of a wrong kind."""
        result: dict[str, Any] = super(Validation, self).run(tmp, task_vars)
        given, args = task_vars or {}, self._task.args
        specs = _specs(args["specs"])
        complaints = _unknown(args["prefix"], given, _options(specs))
        if complaints:
            said = "Unknown variable in the inventory: " + ", ".join(complaints) + "."
        else:
            options = _options({entry: specs[entry] for entry in args["entries"]})
            inner = _options(_specs(args["inner"]))
            options |= {name: inner[name] | {"required": False} for name in inner if name in given}
            said = self._invalid(options, given)
        if said:
            result["failed"] = True
            result["msg"] = f"{said} Nothing was changed."
        result["changed"] = False
        return result

    def _invalid(self, options: Options, given: dict[str, Any]) -> str:
        values = self.get_args_from_task_vars(options, given)
        found = ArgumentSpecValidator(options).validate(values, validate_role_argument_spec=True)
        if not found.error_messages:
            return ""
        return "Validation of variables failed: " + "; ".join(found.error_messages) + "."


def _specs(path: str) -> dict[str, Any]:
    safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast
    found: dict[str, Any] = yaml.load(Path(path).read_text(), safe)["argument_specs"]  # noqa: S506
    return found


def _options(specs: dict[str, Any]) -> Options:
    """Return the options of all entry points: one means the same at each of them."""
    found: Options = {}
    for spec in specs.values():
        found |= spec.get("options") or {}
    return found


def _unknown(prefix: str, given: dict[str, Any], known: Options) -> list[str]:
    complaints = []
    for name in sorted(str(name) for name in given if str(name).startswith(prefix)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            complaints.append(name + (f" (did you mean {near[0]}?)" if near else ""))
    return complaints
