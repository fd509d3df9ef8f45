#!/usr/bin/python
"""Bring a set of systemd units to a declared state in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: unit_set
short_description: Enable, start and restart several systemd units in one call
description:
  - Reloads systemd when a listed unit's file is newer than what it has loaded, or when asked to.
  - Enables and starts what is not, and restarts what is asked to restart.
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name with its suffix., type: str, required: true}
      enabled: {description: Started at boot., type: bool, default: true}
      started: {description: Running now., type: bool, default: true}
      restart: {description: Restart it if it was running already., type: bool, default: false}
  reload:
    description: Reload systemd, for the file of a unit that is not listed was written.
    type: bool
    default: false
author: dbops
"""

EXAMPLES = r"""
- name: Run the services
  unit_set:
    units:
      - {name: demo.service, restart: "{{ demo_config is changed }}"}
      - {name: demo.timer}
"""

RETURN = r"""
actions:
  description: What was or would be done, one line each.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule

_LINES = 8


def _show(module: AnsibleModule, name: str) -> dict[str, str]:
    properties = "LoadState,ActiveState,UnitFileState,NeedDaemonReload"
    _, out, _ = module.run_command(["systemctl", "show", name, f"--property={properties}"])
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def _wanted(unit: dict, state: dict[str, str]) -> list[str]:
    verbs = []
    if unit["enabled"] and state.get("UnitFileState") in ("disabled", ""):
        verbs.append("enable")
    if not unit["enabled"] and state.get("UnitFileState") == "enabled":
        verbs.append("disable")
    active = state.get("ActiveState") in ("active", "activating", "reloading")
    if unit["started"] and not active:
        verbs.append("start")
    elif unit["started"] and unit["restart"]:
        verbs.append("restart")
    elif not unit["started"] and active:
        verbs.append("stop")
    return verbs


def _reason(module: AnsibleModule, name: str, problem: str) -> str:
    """Return the last lines that the unit's own processes wrote in this start, or systemd's one."""
    _, invocation, _ = module.run_command(
        ["systemctl", "show", name, "--property=InvocationID", "--value"]
    )
    own = f"_SYSTEMD_INVOCATION_ID={invocation.strip()}" if invocation.strip() else ""
    for number, asked in ((_LINES, [own]), (1, ["-u", name])):
        if all(asked):
            _, journal, _ = module.run_command(
                ["journalctl", "--no-pager", "-n", str(number), "-o", "cat", *asked]
            )
            if journal.strip():
                return " / ".join(journal.strip().splitlines())
    return (problem.strip().splitlines() or ["no reason given"])[-1]


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "enabled": {"type": "bool", "default": True},
                    "started": {"type": "bool", "default": True},
                    "restart": {"type": "bool", "default": False},
                },
            },
            "reload": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    units = module.params["units"]
    states = [_show(module, unit["name"]) for unit in units]
    stale = module.params["reload"] or any(
        s.get("NeedDaemonReload") == "yes" or s.get("LoadState") == "not-found" for s in states
    )
    if stale and not module.check_mode:
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)
        states = [_show(module, unit["name"]) for unit in units]
    actions = []
    for unit, state in zip(units, states, strict=True):
        for verb in _wanted(unit, state):
            actions.append(f"{verb} {unit['name']}")
            if module.check_mode:
                continue
            code, _, problem = module.run_command(["systemctl", verb, unit["name"]])
            if code != 0:
                why = _reason(module, unit["name"], problem)
                words = f"systemctl {verb} {unit['name']} failed: {why}"
                module.fail_json(msg=words, actions=actions)
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)}
    module.exit_json(changed=bool(actions), actions=actions, diff=diff)


if __name__ == "__main__":
    main()
