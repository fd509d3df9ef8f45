#!/usr/bin/python
"""Ansible module: what state a data directory and its server are in. Reads only."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mysql_server.flavor import ALL, rows

DOCUMENTATION = r"""
module: mysql_state
short_description: Tell what state a MySQL or MariaDB server is in
description:
  - Looks at the programs, the data directory and, if it runs, the server. Changes nothing.
  - A member is a replica when replication is configured, or when the file O(signal) says that it
    is to become one. Only MariaDB shows in its data directory that it is configured.
options:
  data_dir:
    description: Data directory.
    type: path
    required: true
  flavor:
    description: Which server it is.
    type: str
    choices: [mariadb, mysql]
    default: mariadb
  socket:
    description: Socket of the server.
    type: path
    default: /run/mysqld/mysqld.sock
  pid_file:
    description: File that holds the number of the server's process.
    type: path
    default: /run/mysqld/mysqld.pid
  signal:
    description: File that keeps a member from becoming writable by itself.
    type: path
    default: /var/lib/mysql/replica.signal
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Ask what state the server is in
  mysql_state:
    data_dir: /var/lib/mysql/main
  become: true
  register: __mysql_state
"""

RETURN = r"""
installed:
  description: Whether the server program is there.
  type: bool
  returned: always
initialized:
  description: Whether O(data_dir) holds a database.
  type: bool
  returned: always
unfinished:
  description: Whether a restore into O(data_dir) did not end, so that nothing may start it.
  type: bool
  returned: always
running:
  description: Whether the process of the server is alive.
  type: bool
  returned: always
accepting:
  description: Whether the server answered.
  type: bool
  returned: always
problem:
  description: What was said when the server could not be asked.
  type: str
  returned: always
version:
  description: Version of the running server.
  type: str
  returned: always
server_id:
  description: Number of the server.
  type: str
  returned: always
signal:
  description: Whether O(signal) is there.
  type: bool
  returned: always
replica:
  description: Whether replication is configured, or is to be.
  type: bool
  returned: always
writable:
  description: Whether the server takes writes of ordinary accounts; null when it does not answer.
  type: bool
  returned: always
upstream_host:
  description: Host that it replicates from.
  type: str
  returned: always
streaming:
  description: Whether both threads of the replica run and the link stands.
  type: bool
  returned: always
seconds_behind:
  description: Age of what the replica carries out now; -1 when it is not known.
  type: int
  returned: always
replication_problem:
  description: The last error of either thread of the replica.
  type: str
  returned: always
gtid_position:
  description: Last transaction in the server's own binary log.
  type: str
  returned: always
gtid_current:
  description: Last transaction that the server has.
  type: str
  returned: always
gtid_state:
  description: Last transaction of each origin in the server's own binary log.
  type: str
  returned: always
gtid_applied:
  description: Last transaction that came by replication.
  type: str
  returned: always
from_beginning:
  description: Whether its binary logs hold everything since the database was made.
  type: bool
  returned: always
"""

ARGUMENTS: dict[str, Any] = {
    "data_dir": {"type": "path", "required": True},
    "flavor": {"type": "str", "choices": ["mariadb", "mysql"], "default": "mariadb"},
    "socket": {"type": "path", "default": "/run/mysqld/mysqld.sock"},
    "pid_file": {"type": "path", "default": "/run/mysqld/mysqld.pid"},
    "signal": {"type": "path", "default": "/var/lib/mysql/replica.signal"},
}
NOTHING: dict[str, Any] = {
    "accepting": False,
    "problem": None,
    "version": None,
    "server_id": None,
    "writable": None,
    "upstream_host": None,
    "streaming": False,
    "seconds_behind": -1,
    "replication_problem": None,
    "gtid_position": None,
    "gtid_current": None,
    "gtid_state": None,
    "gtid_applied": None,
    "from_beginning": False,
}


def alive(pid_file: str, data_dir: str) -> bool:
    """Tell whether the process named in ``pid_file`` lives and works in ``data_dir``."""
    try:
        with open(pid_file, encoding="ascii") as stream:
            pid = stream.readline().strip()
        return pid.isdigit() and os.path.samefile(f"/proc/{pid}/cwd", data_dir)
    except (FileNotFoundError, UnicodeDecodeError):
        return False


class Server:
    """One server, asked through its socket as root."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.parameters = module.params
        self.flavor = ALL[module.params["flavor"]]

    def ask(self, query: str) -> tuple[list[dict[str, str]], str | None]:
        """Return the rows of ``query``, and what was said when there were none to be had."""
        argv = ["timeout", "20", self.flavor.client, "--no-defaults", "--batch"]
        argv += [f"--socket={self.parameters['socket']}", "--connect-timeout=5", "-e", query]
        status, output, errors = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
        if status == 0:
            return rows(output), None
        said = errors.strip().splitlines()
        return [], said[-1] if said else f"exit status {status}"


def answers(server: Server) -> dict[str, Any]:
    """Return what the running server says of itself."""
    found, problem = server.ask(server.flavor.state)
    if problem is not None:
        return {"problem": problem}
    said: dict[str, Any] = dict(found[0])
    said["writable"] = said.pop("read_only") == "0"
    links, problem = server.ask(server.flavor.status)
    if problem is None and links:
        said.update(server.flavor.link(links[0]))
    logs, trouble = server.ask("SHOW BINARY LOGS")
    first = logs[0]["Log_name"] if logs else ""
    said["from_beginning"] = said.pop("before") == "" and first.endswith(".000001")
    problem = problem or trouble
    return {**said, "replica": bool(links), "accepting": problem is None, "problem": problem}


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Return the whole state; see RETURN."""
    data_dir = module.params["data_dir"]
    signal = os.path.exists(module.params["signal"])
    state: dict[str, Any] = {
        **NOTHING,
        "installed": os.access(ALL[module.params["flavor"]].server, os.X_OK),
        "initialized": os.path.isdir(os.path.join(data_dir, "mysql")),
        "unfinished": os.path.exists(f"{data_dir}.unfinished"),
        "running": alive(module.params["pid_file"], data_dir),
        "replica": os.path.exists(os.path.join(data_dir, "master.info")),
        "signal": signal,
    }
    if state["running"]:
        state.update(answers(Server(module)))
    state["replica"] = state["replica"] or signal
    return state


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **gather(module))
    except (OSError, ValueError, KeyError) as error:
        module.fail_json(msg=f"The state of the server could not be read: {error}.")


if __name__ == "__main__":
    main()
