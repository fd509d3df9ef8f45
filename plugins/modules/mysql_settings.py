#!/usr/bin/python
"""Ansible module: apply settings to a running server, and tell which wait for a restart."""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mysql_server.flavor import ALL

DOCUMENTATION = r"""
module: mysql_settings
short_description: Apply the settings of the configuration file that can be applied without restart
description:
  - Compares each setting with what the running server has. What can be changed at run time is set,
    the rest is named. The file itself is not read or written here.
  - Settings that the server does not show as variables are left out.
options:
  settings:
    description: Settings, as in the configuration file.
    type: dict
    required: true
  keep:
    description: Settings that follow what the member is, or are shown otherwise; left alone.
    type: list
    elements: str
    default: [read_only, super_read_only, log_bin]
  flavor:
    description: Which server it is.
    type: str
    choices: [mariadb, mysql]
    default: mariadb
  socket:
    description: Socket of the server.
    type: path
    default: /run/mysqld/mysqld.sock
attributes:
  check_mode:
    support: full
    description: Tells what would be set.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Apply what can be applied now
  mysql_settings:
    settings: {max_connections: 200, innodb_log_file_size: 512M}
"""

RETURN = r"""
applied:
  description: Settings that were or would be changed in the running server.
  type: list
  elements: str
  returned: success
pending_restart:
  description: Settings that wait for a restart.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, Any] = {
    "settings": {"type": "dict", "required": True},
    "keep": {
        "type": "list",
        "elements": "str",
        "default": ["read_only", "super_read_only", "log_bin"],
    },
    "flavor": {"type": "str", "choices": ["mariadb", "mysql"], "default": "mariadb"},
    "socket": {"type": "path", "default": "/run/mysqld/mysqld.sock"},
}
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
WORDS = {"on": "1", "yes": "1", "true": "1", "off": "0", "no": "0", "false": "0"}


def plain(value: str) -> str:
    """Return a value as it is compared: sizes as bytes, words as digits, sets in order."""
    text = str(value).strip().strip('"').rstrip("/").lower()
    if found := re.fullmatch(r"(\d+)([kmgt])", text):
        return str(int(found[1]) * UNITS[found[2]])
    if re.fullmatch(r"\d+\.\d+", text):
        return f"{float(text):g}"
    return ",".join(sorted(WORDS.get(part, part) for part in text.split(",")))


def compare(
    wanted: dict[str, str], known: dict[str, tuple[str, bool]]
) -> tuple[list[str], list[str]]:
    """Return the names that differ: those that can be set now, and those that cannot."""
    now, later = [], []
    for name, value in sorted(wanted.items()):
        if name in known and plain(known[name][0]) != plain(value):
            (later if known[name][1] else now).append(name)
    return now, later


def literal(value: str) -> str:
    """Return ``value`` as SQL: a number as it is, anything else quoted."""
    text = plain(value) if re.fullmatch(r"\d+[kmgtKMGT]?|\d+\.\d+", str(value)) else str(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Server:
    """The running server."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.flavor = ALL[module.params["flavor"]]

    def ask(self, query: str) -> str:
        """Return what ``query`` prints; the module fails when it cannot be carried out."""
        status, output, errors = self.run(query)
        if status != 0:
            said = errors.strip().splitlines() or [f"exit status {status}"]
            self.module.fail_json(msg=f"The server refused a setting: {said[-1]}.")
        return str(output)

    def run(self, query: str) -> tuple[int, str, str]:
        """Return the client's status and what it printed."""
        argv = [self.flavor.client, "--no-defaults", "--batch", "--skip-column-names"]
        argv += [f"--socket={self.module.params['socket']}", "-e", query]
        status, output, errors = self.module.run_command(argv)
        return int(status), str(output), str(errors)

    def variables(self) -> dict[str, tuple[str, bool]]:
        """Return each variable's value and whether it can be set only at start."""
        lines = (line.split("\t") for line in self.ask(self.flavor.settings).splitlines())
        return {line[0].lower(): (line[1], line[2] == "YES") for line in lines}

    def fixed(self, name: str) -> bool:
        """Tell, by setting it to what it is, whether a variable can be set only at start."""
        if self.flavor.tells_fixed:
            return False
        status, _, errors = self.run(f"SET GLOBAL {name} = @@GLOBAL.{name}")
        return status != 0 and "1238" in errors


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    server = Server(module)
    keep = set(module.params["keep"])
    given = {str(k).replace("-", "_").lower(): str(v) for k, v in module.params["settings"].items()}
    wanted = {name: value for name, value in given.items() if name not in keep}
    now, later = compare(wanted, server.variables())
    later = sorted([*later, *(name for name in now if server.fixed(name))])
    now = [name for name in now if name not in later]
    if now and not module.check_mode:
        server.ask("".join(f"SET GLOBAL {name} = {literal(wanted[name])};" for name in now))
    module.exit_json(changed=bool(now), applied=now, pending_restart=later)


if __name__ == "__main__":
    main()
