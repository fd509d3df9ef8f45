#!/usr/bin/python
"""Ansible module: make a server the replica of another one, or free it."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mysql_server.flavor import ALL, rows

DOCUMENTATION = r"""
module: mysql_replica
short_description: Configure GTID replication over TLS exactly as declared
description:
  - Compares what is configured, the password included, and changes only what differs. The statement
    goes through the client's standard input, so no password is in any list of processes.
  - Waits until both threads of the replica run.
options:
  state:
    description: Whether the server replicates.
    type: str
    choices: [present, absent]
    default: present
  data_dir:
    description: Data directory, where MariaDB keeps what is configured.
    type: path
    required: true
  host:
    description: Host to replicate from; its certificate must name it.
    type: str
  port:
    description: Its port.
    type: int
    default: 3306
  user:
    description: Account to replicate with.
    type: str
    default: dbops_replication
  password:
    description: Its password.
    type: str
  ca_file:
    description: Authority that must have signed the certificate of O(host).
    type: path
    default: /etc/dbops/tls/ca.crt
  cert_file:
    description: Certificate to show.
    type: path
    default: /etc/dbops/tls/client.crt
  key_file:
    description: Its key.
    type: path
    default: /etc/dbops/tls/client.key
  flavor:
    description: Which server it is.
    type: str
    choices: [mariadb, mysql]
    default: mariadb
  timeout_seconds:
    description: How long to wait for the threads.
    type: int
    default: 60
  socket:
    description: Socket of the server.
    type: path
    default: /run/mysqld/mysqld.sock
attributes:
  check_mode:
    support: full
    description: Tells what would be changed.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Follow the primary
  mysql_replica:
    data_dir: /var/lib/mysql/main
    host: mysql1
    password: "{{ mysql_replication_password }}"
  no_log: true
"""

RETURN = r"""
differences:
  description: What was or would be changed; a password is only named.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "data_dir": {"type": "path", "required": True},
    "host": {"type": "str"},
    "port": {"type": "int", "default": 3306},
    "user": {"type": "str", "default": "dbops_replication"},
    "password": {"type": "str", "no_log": True},
    "ca_file": {"type": "path", "default": "/etc/dbops/tls/ca.crt"},
    "cert_file": {"type": "path", "default": "/etc/dbops/tls/client.crt"},
    "key_file": {"type": "path", "default": "/etc/dbops/tls/client.key"},
    "timeout_seconds": {"type": "int", "default": 60},
    "flavor": {"type": "str", "choices": ["mariadb", "mysql"], "default": "mariadb"},
    "socket": {"type": "path", "default": "/run/mysqld/mysqld.sock"},
}
# Where the server's own file master.info keeps each of them, counted from its first line.
LINES = {
    "host": 3,
    "user": 4,
    "password": 5,
    "port": 6,
    "ssl": 8,
    "ca_file": 9,
    "cert_file": 11,
    "key_file": 13,
    "verify": 14,
}


def configured(data_dir: str) -> dict[str, str]:
    """Return what is configured now; empty when nothing is."""
    try:
        with open(os.path.join(data_dir, "master.info"), encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return {}
    found = {name: lines[index] for name, index in LINES.items() if index < len(lines)}
    found["gtid"] = str("using_gtid=2" in lines)
    return found


def declared(parameters: dict[str, Any]) -> dict[str, str]:
    """Return what shall be configured."""
    names = ("host", "user", "password", "port", "ca_file", "cert_file", "key_file")
    return {**{name: str(parameters[name]) for name in names}, "ssl": "1", "verify": "1"}


class Server:
    """The running server, asked through its socket as root."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.flavor = ALL[module.params["flavor"]]
        self.argv = [self.flavor.client, "--no-defaults", f"--socket={module.params['socket']}"]

    def configured(self) -> dict[str, str]:
        """Return what is configured now; empty when nothing is."""
        if not self.flavor.stored:
            return configured(self.module.params["data_dir"])
        found = rows(self.run(self.flavor.stored, "--batch"))
        return found[0] if found else {}

    def run(self, sql: str, *options: str) -> str:
        """Carry out ``sql``; the module fails with the server's complaint."""
        status, output, errors = self.module.run_command([*self.argv, *options], data=sql)
        if status != 0:
            said = errors.strip().splitlines() or [f"exit status {status}"]
            self.module.fail_json(msg=f"Replication could not be set up: {said[-1]}.")
        return str(output)

    def status(self) -> dict[str, str]:
        """Return the replica's status, empty when there is none."""
        found = rows(self.run(self.flavor.status, "--batch"))
        return found[0] if found else {}

    def running(self) -> bool:
        """Tell whether the thread runs that carries out what was received."""
        return self.status().get(self.flavor.column("Replica_SQL_Running")) == "Yes"

    def wait(self, seconds: int) -> None:
        """Wait until both threads run; the module fails with what keeps them from it."""
        deadline = time.monotonic() + seconds
        while True:
            row = self.status()
            names = ("Replica_IO_Running", "Replica_SQL_Running")
            if [row.get(self.flavor.column(name)) for name in names] == ["Yes", "Yes"]:
                return
            if time.monotonic() > deadline:
                said = row.get("Last_SQL_Error") or row.get("Last_IO_Error") or "no reason given"
                self.module.fail_json(msg=f"The replica does not stream: {said}.")
            time.sleep(0.3)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["host", "password"])],
        supports_check_mode=True,
    )
    server = Server(module)
    known = server.configured()
    if module.params["state"] == "absent":
        if known and not module.check_mode:
            server.run(server.flavor.forget)
        module.exit_json(changed=bool(known), differences=["replication ended"] if known else [])
    wanted = declared(module.params)
    differences = [name for name, value in wanted.items() if known.get(name) != value]
    if known.get("gtid", "True") != "True":
        differences.append("gtid")
    if not module.check_mode:
        if differences:
            server.run(server.flavor.follow(wanted))
        elif not server.running():
            server.run(f"START {server.flavor.replica};\n")
            differences = ["started"]
        server.wait(module.params["timeout_seconds"])
    module.exit_json(changed=bool(differences), differences=differences)


if __name__ == "__main__":
    main()
