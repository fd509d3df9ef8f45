#!/usr/bin/python
"""Ansible module: give a server's commands names that only its own host knows."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_commands
short_description: Hide a server's commands from what its primary streams
description:
  - Writes a file of C(rename-command) lines that a server's configuration includes.
  - Names are made on the host when they are missing, stay what they are, and are never shown.
  - The server reads them when it starts.
options:
  path: {description: The file., type: path, required: true}
  group: {description: Group that may read it., type: str, required: true}
  hidden:
    description: Commands that get a secret name.
    type: list
    elements: str
    default: []
  removed:
    description: Commands that get none.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, description: Names are left out.}
author: dbops
"""

EXAMPLES = r"""
- name: Take the commands from the primary
  redis_commands:
    path: /etc/dbops-redis/demo/commands.conf
    group: dbops-repository
    hidden: [CONFIG]
    removed: [SHUTDOWN]
"""

RETURN = r"""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

# mitogen carries over only what a module imports by its full name: every part of the package.
from ansible.module_utils.redis_server import accounts, client, commands  # noqa: F401
from ansible.module_utils.redis_server.host import Report, closed, content, write

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "group": {"type": "str", "required": True},
    "hidden": {"type": "list", "elements": "str", "default": []},
    "removed": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given, report = module.params, Report()
    try:
        before = content(given["path"])
        after = commands.text(given["hidden"], given["removed"], before)
        if before != after or not closed(given["path"]):
            lines = commands.masked(before), commands.masked(after)
            report.note(given["path"], *lines, [f"write {given['path']}"])
            if not module.check_mode:
                write(given["path"], given["group"], after)
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"redis_commands: {error}")
    module.exit_json(changed=bool(report.actions), diff=report.diff)


if __name__ == "__main__":
    main()
