#!/usr/bin/python
"""Ansible module: move the primary to a replica without losing an acknowledged write."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_switchover
short_description: Hand the part of the primary over to a replica
description:
  - Runs on the primary. Writers are paused until the replica has acknowledged every byte.
  - Then the Sentinels fail over, and no paused write can go on at the former primary.
  - If the replica does not catch up in time, writers go on where they were and nothing has changed.
options:
  login:
    description: How to reach the server of this host.
    type: dict
    required: true
    suboptions:
      socket: {description: Its Unix socket., type: path, required: true}
      user: {description: Account to log in as., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      password_file:
        description: File with the password in force, tried second.
        type: path
        default: ""
      commands_file:
        description: File with the secret names of commands.
        type: path
        default: ""
  sentinel:
    description: How to reach a Sentinel of this host.
    type: dict
    required: true
    suboptions:
      socket: {description: Its Unix socket., type: path, required: true}
      user: {description: Account to log in as., type: str, required: true}
      password: {description: Its password., type: str, required: true}
      password_file:
        description: File with the password in force, tried second.
        type: path
        default: ""
      commands_file:
        description: File with the secret names of commands.
        type: path
        default: ""
  cluster: {description: Name of the cluster., type: str, required: true}
  to: {description: "Replica that becomes primary, C(host port).", type: str, required: true}
  pause_seconds: {description: How long writers may wait at most., type: int, default: 20}
author: dbops
"""

EXAMPLES = r"""
- name: Move the primary
  redis_switchover:
    login:
      socket: /run/dbops-redis-demo/redis.sock
      user: dbops_admin
      password: "{{ redis_admin_password }}"
    sentinel:
      socket: /run/dbops-redis-sentinel-demo/sentinel.sock
      user: dbops_sentinel
      password: "{{ redis_sentinel_password }}"
    cluster: demo
    to: 192.0.2.12 6379
"""

RETURN = r"""
paused_seconds: {description: How long writers waited., type: float, returned: success}
offset: {description: Where the former primary ended., type: int, returned: success}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# mitogen carries over only what a module imports by its full name: every part of the package.
from ansible.module_utils.redis_server import accounts, commands  # noqa: F401
from ansible.module_utils.redis_server.client import Client, RedisError, login
from ansible.module_utils.redis_server.host import LOGIN

ARGUMENTS: dict[str, Any] = {
    "login": {**LOGIN, "required": True},
    "sentinel": {**LOGIN, "required": True},
    "cluster": {"type": "str", "required": True},
    "to": {"type": "str", "required": True},
    "pause_seconds": {"type": "int", "default": 20},
}


class Late(RedisError):
    """What was waited for did not happen in time."""


def acknowledged(client: Client, replica: str) -> int:
    """Return how far ``replica`` has acknowledged, -1 when it is not online."""
    for name, value in client.info("replication").items():
        if name.startswith("slave") and name[5:].isdigit():
            link = dict(part.split("=", 1) for part in value.split(","))
            if f"{link['ip']} {link['port']}" == replica and link["state"] == "online":
                return int(link["offset"])
    return -1


def wait(deadline: float, what: str, done: Any) -> None:
    """Wait until ``done()``; Late says what did not happen."""
    while not done():
        if time.monotonic() > deadline:
            raise Late(what)
        time.sleep(0.02)


def hand_over(server: Client, sentinel: Client, parameters: dict[str, Any]) -> dict[str, Any]:
    """Pause, wait, fail over, follow."""
    replica, cluster = parameters["to"], parameters["cluster"]
    started = time.monotonic()
    deadline = started + parameters["pause_seconds"]
    # Longer than the wait: a paused write must never go on here after the failover.
    server.call("CLIENT", "PAUSE", (parameters["pause_seconds"] + 40) * 1000, "WRITE")
    end = int(server.info("replication")["master_repl_offset"])
    wait(
        deadline,
        f"{replica} did not acknowledge everything within {parameters['pause_seconds']} s",
        lambda: acknowledged(server, replica) >= end,
    )
    sentinel.call("SENTINEL", "FAILOVER", cluster)
    wait(
        deadline + 20,
        f"the Sentinels did not make {replica} the primary",
        lambda: " ".join(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", cluster)) == replica,
    )
    server.call("REPLICAOF", *replica.split())
    server.ask("CONFIG", "REWRITE")
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    return {"paused_seconds": round(time.monotonic() - started, 3), "offset": end}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do it; writers go on in any case. Raises RedisError."""
    parameters = module.params
    server, sentinel = login(parameters["login"]), login(parameters["sentinel"])
    try:
        return hand_over(server, sentinel, parameters)
    finally:
        server.ask("CLIENT", "UNPAUSE")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        module.exit_json(changed=True, **run(module))
    except RedisError as error:
        module.fail_json(msg=f"The primary was not moved: {error}.")


if __name__ == "__main__":
    main()
