#!/usr/bin/python
"""Ansible module: make a MariaDB server the replica of another one, or free it."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

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
    description: Data directory, where the server keeps what is configured.
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
    default: /etc/dbops/tls/host.crt
  key_file:
    description: Its key.
    type: path
    default: /etc/dbops/tls/host.key
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
    "cert_file": {"type": "path", "default": "/etc/dbops/tls/host.crt"},
    "key_file": {"type": "path", "default": "/etc/dbops/tls/host.key"},
    "timeout_seconds": {"type": "int", "default": 60},
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
CLAUSES = {
    "host": "MASTER_HOST",
    "user": "MASTER_USER",
    "password": "MASTER_PASSWORD",
    "port": "MASTER_PORT",
    "ssl": "MASTER_SSL",
    "ca_file": "MASTER_SSL_CA",
    "cert_file": "MASTER_SSL_CERT",
    "key_file": "MASTER_SSL_KEY",
    "verify": "MASTER_SSL_VERIFY_SERVER_CERT",
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


def quoted(value: str) -> str:
    """Return ``value`` as SQL text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def statement(wanted: dict[str, str]) -> str:
    """Return the SQL that configures and starts replication.

    What the server wrote itself counts as received (MASTER_DEMOTE_TO_SLAVE), so that a former
    primary goes on after its own last transaction.
    """
    numbers = ("port", "ssl", "verify")
    clauses = [
        f"{clause}={wanted[name] if name in numbers else quoted(wanted[name])}"
        for name, clause in CLAUSES.items()
    ]
    clauses += ["MASTER_USE_GTID=slave_pos", "MASTER_DEMOTE_TO_SLAVE=1", "MASTER_CONNECT_RETRY=2"]
    return f"STOP SLAVE;\nCHANGE MASTER TO {', '.join(clauses)};\nSTART SLAVE;\n"


class Server:
    """The running server, asked through its socket as root."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.argv = ["mariadb", "--no-defaults", f"--socket={module.params['socket']}"]

    def run(self, sql: str, *options: str) -> str:
        """Carry out ``sql``; the module fails with the server's complaint."""
        status, output, errors = self.module.run_command([*self.argv, *options], data=sql)
        if status != 0:
            said = errors.strip().splitlines() or [f"exit status {status}"]
            self.module.fail_json(msg=f"Replication could not be set up: {said[-1]}.")
        return str(output)

    def status(self) -> dict[str, str]:
        """Return the replica's status, empty when there is none."""
        lines = self.run("SHOW SLAVE STATUS", "--batch").splitlines()
        return dict(zip(*(line.split("\t") for line in lines[:2]), strict=True)) if lines else {}

    def wait(self, seconds: int) -> None:
        """Wait until both threads run; the module fails with what keeps them from it."""
        deadline = time.monotonic() + seconds
        while True:
            row = self.status()
            if row.get("Slave_IO_Running") == row.get("Slave_SQL_Running") == "Yes":
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
    known = configured(module.params["data_dir"])
    server = Server(module)
    if module.params["state"] == "absent":
        if known and not module.check_mode:
            server.run("STOP SLAVE;\nRESET SLAVE ALL;\n")
        module.exit_json(changed=bool(known), differences=["replication ended"] if known else [])
    wanted = declared(module.params)
    differences = [name for name, value in wanted.items() if known.get(name) != value]
    if known.get("gtid", "True") != "True":
        differences.append("gtid")
    if not module.check_mode:
        if differences:
            server.run(statement(wanted))
        elif server.status().get("Slave_SQL_Running") != "Yes":
            server.run("START SLAVE;\n")
            differences = ["started"]
        server.wait(module.params["timeout_seconds"])
    module.exit_json(changed=bool(differences), differences=differences)


if __name__ == "__main__":
    main()
