#!/usr/bin/python
"""Ansible module: what state a PostgreSQL data directory and its server are in. Reads only."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: postgresql_state
short_description: Tell what state a PostgreSQL server is in
description:
  - Looks at the programs, the data directory and, when it accepts connections, the server.
  - Changes nothing, also outside check mode, and needs nothing but the Python standard library.
  - Something that cannot be found out is returned as C(null), never guessed.
  - Runs as root (programs are then started as O(os_user)) or as O(os_user) itself.
options:
  data_dir:
    description: Data directory.
    type: path
    required: true
  bin_dir:
    description: Directory of C(postgres), C(psql) and C(pg_controldata).
    type: path
    required: true
  socket_dir:
    description: Directory of the server's Unix socket.
    type: path
    default: /run/postgresql
  port:
    description: Port of the server.
    type: int
    default: 5432
  os_user:
    description: Account that owns the data directory, and the SQL role used by peer login.
    type: str
    default: postgres
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Ask what state the server is in
  postgresql_state:
    data_dir: /var/lib/postgresql/15/main
    bin_dir: /usr/lib/postgresql/15/bin
  become: true
  register: __postgresql_state
"""

RETURN = r"""
installed:
  description: Whether O(bin_dir) holds the server program.
  type: bool
  returned: always
version:
  description: Version of the installed program, C(15.14) for instance.
  type: str
  returned: always
initialized:
  description: Whether O(data_dir) holds a cluster.
  type: bool
  returned: always
data_version:
  description: Major version that the data directory was made by.
  type: int
  returned: always
unfinished:
  description:
    - Whether a copy of the primary to O(data_dir) began and did not end.
    - What is there must not be started then.
    - The file C(DATA_DIR.unfinished) says so.
  type: bool
  returned: always
closed_to_group:
  description: Whether O(data_dir) was made so that no group can read it.
  type: bool
  returned: always
running:
  description: Whether the postmaster of this data directory is alive.
  type: bool
  returned: always
accepting:
  description: Whether the server answered a query.
  type: bool
  returned: always
problem:
  description: What the server or C(pg_controldata) said when it could not be asked.
  type: str
  returned: always
standby_signal:
  description: Whether C(standby.signal) is there.
  type: bool
  returned: always
recovery_signal:
  description: Whether C(recovery.signal) is there.
  type: bool
  returned: always
in_recovery:
  description: Whether the server is a standby or still recovering; null when it does not answer.
  type: bool
  returned: always
timeline:
  description: Timeline of the latest checkpoint.
  type: int
  returned: always
system_identifier:
  description: Identity of the cluster, the same on primary and standbys. Text, as it passes 2^53.
  type: str
  returned: always
checksums:
  description: Whether data checksums are on.
  type: bool
  returned: always
database_cluster_state:
  description: State in the control file, C(in production) or C(shut down) for instance.
  type: str
  returned: always
pending_restart:
  description: Names of settings that wait for a restart.
  type: list
  elements: str
  returned: always
upstream_host:
  description: Host that the WAL receiver streams from.
  type: str
  returned: always
upstream_port:
  description: Port that the WAL receiver streams from.
  type: int
  returned: always
upstream_status:
  description: State of the WAL receiver, C(streaming) for instance; null when there is none.
  type: str
  returned: always
standbys:
  description: On a server with standbys, the C(application_name) and C(state) of each.
  type: list
  elements: dict
  returned: always
"""

ARGUMENTS: dict[str, Any] = {
    "data_dir": {"type": "path", "required": True},
    "bin_dir": {"type": "path", "required": True},
    "socket_dir": {"type": "path", "default": "/run/postgresql"},
    "port": {"type": "int", "default": 5432},
    "os_user": {"type": "str", "default": "postgres"},
}

QUERY = """
SELECT json_build_object(
  'in_recovery', pg_is_in_recovery(),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]')
                      FROM pg_settings WHERE pending_restart),
  'upstream_host', (SELECT sender_host FROM pg_stat_wal_receiver),
  'upstream_port', (SELECT sender_port FROM pg_stat_wal_receiver),
  'upstream_status', (SELECT status FROM pg_stat_wal_receiver),
  'standbys', (SELECT coalesce(json_agg(json_build_object('name', application_name,
                        'state', state, 'sync_state', sync_state) ORDER BY application_name), '[]')
               FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')))
"""


def parse_controldata(text: str) -> dict[str, Any]:
    """Pick timeline, identifier, checksums and state out of what ``pg_controldata`` prints."""
    lines = (line.partition(":") for line in text.splitlines())
    values = {key.strip(): value.strip() for key, colon, value in lines if colon}
    timeline = values.get("Latest checkpoint's TimeLineID", "")
    checksums = values.get("Data page checksum version")
    return {
        "timeline": int(timeline) if timeline.isdigit() else None,
        "system_identifier": values.get("Database system identifier"),
        "checksums": None if checksums is None else checksums != "0",
        "database_cluster_state": values.get("Database cluster state"),
    }


def first_line(path: str) -> str | None:
    """Return the first line of a file without its end, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip()
    except FileNotFoundError:
        return None


def postmaster_alive(data_dir: str) -> bool:
    """Tell whether the process named in ``postmaster.pid`` lives and works in ``data_dir``."""
    pid = first_line(os.path.join(data_dir, "postmaster.pid"))
    if pid is None or not pid.isdigit():
        return False
    try:
        # After a crash another program may have got the number: a postmaster works in its data.
        return os.path.samefile(f"/proc/{pid}/cwd", data_dir)
    except FileNotFoundError:
        return False


class Server:
    """The programs of one server, run as the account that owns it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.parameters = module.params

    def run(self, program: str, *arguments: str) -> tuple[int, str, str]:
        """Run a program of ``bin_dir`` for at most 20 seconds; return status, output, errors."""
        argv = ["timeout", "20", os.path.join(self.parameters["bin_dir"], program), *arguments]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", self.parameters["os_user"], "--", *argv]
        environment = {"LC_ALL": "C", "PGCONNECT_TIMEOUT": "5", "PGOPTIONS": ""}
        status, output, errors = self.module.run_command(
            argv, environ_update=environment, cwd="/", check_rc=False
        )
        return status, output, errors

    def version(self) -> str | None:
        """Return the version of the installed server program, or None."""
        if not os.access(os.path.join(self.parameters["bin_dir"], "postgres"), os.X_OK):
            return None
        found = re.search(r"\d+(\.\d+)*\S*", self.run("postgres", "--version")[1])
        return found.group() if found else None

    def control(self) -> tuple[dict[str, Any], str | None]:
        """Return what the control file says, and why not when it could not be read."""
        status, output, errors = self.run("pg_controldata", "-D", self.parameters["data_dir"])
        return parse_controldata(output if status == 0 else ""), complaint(status, errors)

    def ask(self) -> tuple[dict[str, Any], str | None]:
        """Return what the server itself answers, and why not when it does not."""
        host, port = self.parameters["socket_dir"], str(self.parameters["port"])
        status, output, errors = self.run(
            *("psql", "-XAtw", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port),
            *("-U", self.parameters["os_user"], "-d", "postgres", "-c", QUERY),
        )
        return (json.loads(output) if status == 0 else {}), complaint(status, errors)


def complaint(status: int, errors: str) -> str | None:
    """Return one line that says why a program failed, or None when it did not."""
    if status == 0:
        return None
    if status == 124:
        return "no answer within 20 seconds"
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"exit status {status}"


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Return the whole state; see RETURN."""
    data_dir = module.params["data_dir"]
    server = Server(module)
    version = server.version()
    data_version = first_line(os.path.join(data_dir, "PG_VERSION"))
    state: dict[str, Any] = {
        "installed": version is not None,
        "version": version,
        "initialized": data_version is not None,
        "data_version": int(data_version) if data_version and data_version.isdigit() else None,
        "unfinished": os.path.lexists(f"{data_dir}.unfinished"),
        "closed_to_group": data_version is not None and os.stat(data_dir).st_mode & 0o050 != 0o050,
        "running": postmaster_alive(data_dir),
        "accepting": False,
        "problem": None,
        "standby_signal": os.path.exists(os.path.join(data_dir, "standby.signal")),
        "recovery_signal": os.path.exists(os.path.join(data_dir, "recovery.signal")),
        "in_recovery": None,
        "pending_restart": [],
        "upstream_host": None,
        "upstream_port": None,
        "upstream_status": None,
        "standbys": [],
        **parse_controldata(""),
    }
    if version and state["initialized"]:
        control, state["problem"] = server.control()
        state.update(control)
    if version and state["running"]:
        answer, problem = server.ask()
        state.update(answer, accepting=problem is None, problem=problem or state["problem"])
    return state


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **gather(module))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The state of PostgreSQL could not be read: {error}.")


if __name__ == "__main__":
    main()
