#!/usr/bin/python
"""Ansible module: what a Redis or Valkey server and the Sentinel on its host say. Reads only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_state
short_description: Tell what a Redis or Valkey server and the Sentinel of its host say
description:
  - Asks the server and the Sentinel of this host through their Unix sockets.
  - Changes nothing. Something that cannot be found out is returned as C(null), never guessed.
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
    description: How to reach the Sentinel of this host.
    type: dict
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
  cluster: {description: Name under which Sentinel knows the cluster., type: str, required: true}
  state_file: {description: File that the server rewrites., type: path, required: true}
  migration_file:
    description: File with the settings that hold while a migration needs them.
    type: path
author: dbops
"""

EXAMPLES = r"""
- name: Ask the server what it is now
  redis_state:
    login:
      socket: /run/dbops-redis-demo/redis.sock
      user: dbops_admin
      password: "{{ redis_admin_password }}"
    cluster: demo
    state_file: /var/lib/dbops-redis/demo/server/server.conf
"""

RETURN = r"""
container: {description: Whether the host shares its kernel., type: bool, returned: always}
initialized: {description: Whether the server was set up once., type: bool, returned: always}
held:
  description: Names of the settings that a migration holds.
  type: list
  elements: str
  returned: always
replicaof: {description: "Primary in the state file, C(host port).", type: str, returned: always}
running: {description: Whether the server answers., type: bool, returned: always}
problem: {description: Why it does not., type: str, returned: always}
version: {description: Version of the running server., type: str, returned: always}
role: {description: C(master) or C(slave)., type: str, returned: always}
hides_commands:
  description: Whether commands are known by their secret names alone.
  type: bool
  returned: always
primary: {description: "Whom a replica follows, C(host port).", type: str, returned: always}
link_up: {description: Whether a replica's link to it is up., type: bool, returned: always}
replicas:
  description: Replicas that are online, each C(host port).
  type: list
  elements: str
  returned: always
unlisted_replicas:
  description: Replicas online that announce no port.
  type: list
  elements: str
  returned: always
sentinel_running: {description: Whether the Sentinel answers., type: bool, returned: always}
sentinel_quorum: {description: Whether enough of them see it., type: bool, returned: always}
sentinel_primary:
  description: Whom it takes for primary, C(host port).
  type: str
  returned: always
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# mitogen carries over only what a module imports by its full name: every part of the package.
from ansible.module_utils.redis_server import accounts, commands  # noqa: F401
from ansible.module_utils.redis_server.client import Client, RedisError, login
from ansible.module_utils.redis_server.host import LOGIN

ARGUMENTS: dict[str, Any] = {
    "cluster": {"type": "str", "required": True},
    "login": {**LOGIN, "required": True},
    "sentinel": LOGIN,
    "state_file": {"type": "path", "required": True},
    "migration_file": {"type": "path"},
}


def content(path: str) -> str | None:
    """Return what a file holds, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return None


def held(path: str | None) -> list[str]:
    """Return the names of the settings in the file of a migration."""
    lines = ((path and content(path)) or "").splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def remembered(path: str) -> str | None:
    """Return whom the state file names as primary; "" when nobody, None when it is not there."""
    text = content(path)
    if text is None:
        return None
    lines = [line.split() for line in text.splitlines()]
    found = [line[1:3] for line in lines if line and line[0] in ("replicaof", "slaveof")]
    return " ".join(found[-1]) if found and found[-1] != ["no", "one"] else ""


def replication(client: Client) -> dict[str, Any]:
    """Return what the server says about its part in the replication."""
    info = client.info("replication")
    links = [
        dict(part.split("=", 1) for part in value.split(","))
        for name, value in info.items()
        if name.startswith("slave") and name[5:].isdigit()
    ]
    online = [link for link in links if link["state"] == "online"]
    primary = f"{info['master_host']} {info['master_port']}" if "master_host" in info else None
    return {
        "role": info["role"],
        "primary": primary,
        "link_up": info.get("master_link_status") == "up" if primary else None,
        "replicas": [f"{link['ip']} {link['port']}" for link in online if link["port"] != "0"],
        "unlisted_replicas": [link["ip"] for link in online if link["port"] == "0"],
    }


def server(module: AnsibleModule) -> dict[str, Any]:
    """Return what the server says, or why it does not."""
    try:
        client = login(module.params["login"])
        version = client.info("server")
        found = replication(client)
        found["hides_commands"] = client.hides()
        client.close()
    except RedisError as error:
        return {"running": False, "problem": str(error)}
    named = version.get("valkey_version") or version.get("redis_version")
    return {"running": True, "problem": None, "version": named, **found}


def sentinel(module: AnsibleModule) -> dict[str, Any]:
    """Return whom the Sentinel takes for primary."""
    if module.params["sentinel"] is None:
        return {}
    try:
        client = login(module.params["sentinel"])
        found = client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", module.params["cluster"])
        agreed = client.ask("SENTINEL", "CKQUORUM", module.params["cluster"])
        client.close()
    except RedisError:
        return {}
    return {
        "sentinel_running": True,
        "sentinel_primary": " ".join(found) if found else None,
        "sentinel_quorum": not isinstance(agreed, RedisError),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        replicaof = remembered(module.params["state_file"])
        migrating = held(module.params["migration_file"])
    except OSError as error:
        module.fail_json(msg=f"The state of the server could not be read: {error}.")
    nothing: dict[str, Any] = {
        "version": None,
        "role": None,
        "hides_commands": None,
        "primary": None,
        "link_up": None,
        "replicas": [],
        "unlisted_replicas": [],
        "sentinel_running": False,
        "sentinel_primary": None,
        "sentinel_quorum": None,
    }
    nothing["container"] = os.path.exists("/run/systemd/container")
    known = {
        "initialized": replicaof is not None,
        "replicaof": replicaof or "",
        "held": migrating,
    }
    module.exit_json(changed=False, **{**nothing, **known, **server(module), **sentinel(module)})


if __name__ == "__main__":
    main()
