"""Refuse variables that no role knows or that it cannot take. Runs on the controller.

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
SHARED = "dbops"
_FORMER = "common"  # what the shared role was called


class ActionModule(Validation):
    """Compare the host's variables with the specs of its engine's role and of the shared one."""

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result that names what is unknown, missing or of a wrong kind."""
        result: dict[str, Any] = super(Validation, self).run(tmp, task_vars)
        given, roles = task_vars or {}, Path(self._task.args["roles"])
        said = self._said(self._task.args["engine"], roles, given)
        if said:
            result["failed"] = True
            result["msg"] = f"{said} Nothing was changed."
        result["changed"] = False
        return result

    def _said(self, engine: str, roles: Path, given: dict[str, Any]) -> str:
        engines = sorted(path.parents[1].name for path in roles.glob("*/tasks/preflight.yml"))
        engines.remove(SHARED)
        if engine not in engines:
            return f"dbops_engine is {engine!r}: it must be one of {', '.join(engines)}."
        shared, own = _options(roles, SHARED), _options(roles, engine)
        if complaints := _unknown(engine, given, shared, own):
            return "Unknown variable in the inventory: " + ", ".join(complaints) + "."
        options = shared | own
        missing = sorted(n for n, o in options.items() if o.get("required") and n not in given)
        if missing:
            return "Not in the inventory, and required: " + ", ".join(missing) + "."
        return self._invalid({n: o for n, o in options.items() if n in given}, given)

    def _invalid(self, options: Options, given: dict[str, Any]) -> str:
        values = self.get_args_from_task_vars(options, given)
        found = ArgumentSpecValidator(options).validate(values, validate_role_argument_spec=True)
        if not found.error_messages:
            return ""
        return "Validation of variables failed: " + "; ".join(found.error_messages) + "."


def _options(roles: Path, role: str) -> Options:
    """Return the options of all entry points of a role: one means the same at each of them."""
    safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast
    text = (roles / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    found: Options = {}
    for spec in yaml.load(text, safe)["argument_specs"].values():  # noqa: S506
        found |= spec.get("options") or {}
    return found


def _unknown(engine: str, given: dict[str, Any], shared: Options, own: Options) -> list[str]:
    """Return what is said of each variable that looks like one of the kit's and is none."""
    complaints = []
    for name in sorted(str(name) for name in given):
        role, _, rest = name.partition("_")
        if name in own or name in shared or role not in (engine, SHARED, _FORMER):
            continue
        if role != SHARED and f"{SHARED}_{rest}" in shared:
            complaints.append(f"{name} (its name is {SHARED}_{rest})")
        elif role != _FORMER:
            near = difflib.get_close_matches(name, own | shared, n=1)
            complaints.append(name + (f" (did you mean {near[0]}?)" if near else ""))
    return complaints
