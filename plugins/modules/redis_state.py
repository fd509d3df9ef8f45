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
  cluster: {description: Name under which Sentinel knows the cluster., type: str, required: true}
  socket: {description: Socket of the server., type: path, required: true}
  sentinel_socket: {description: Socket of the Sentinel., type: path, default: ""}
  state_file: {description: File that the server rewrites., type: path, required: true}
  user: {description: Account to log in as., type: str, required: true}
  password: {description: Its password., type: str, required: true}
  password_file:
    description: File with the password in force, tried second.
    type: path
    required: true
  sentinel_password:
    description: Password of dbops_admin on the Sentinel.
    type: str
    default: ""
  sentinel_password_file:
    description: File with the one in force, tried second.
    type: path
    default: ""
author: dbops
"""

EXAMPLES = r"""
- name: Ask the server what it is now
  redis_state:
    cluster: demo
    socket: /run/dbops-redis-demo/redis.sock
    sentinel_socket: /run/dbops-redis-sentinel-demo/sentinel.sock
    state_file: /etc/dbops-redis/demo/state/server.conf
    user: dbops_admin
    password: "{{ redis_admin_password }}"
    password_file: /etc/dbops/secrets/redis-demo-admin.password
"""

RETURN = r"""
container: {description: Whether the host shares its kernel., type: bool, returned: always}
initialized: {description: Whether the server was set up once., type: bool, returned: always}
replicaof: {description: "Primary in the state file, C(host port).", type: str, returned: always}
running: {description: Whether the server answers., type: bool, returned: always}
problem: {description: Why it does not., type: str, returned: always}
version: {description: Version of the running server., type: str, returned: always}
role: {description: C(master) or C(slave)., type: str, returned: always}
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
from ansible.module_utils.redis_server.client import Client, RedisError, login

ARGUMENTS: dict[str, Any] = {
    "cluster": {"type": "str", "required": True},
    "socket": {"type": "path", "required": True},
    "sentinel_socket": {"type": "path", "default": ""},
    "state_file": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "password_file": {"type": "path", "required": True, "no_log": False},
    "sentinel_password": {"type": "str", "default": "", "no_log": True},
    "sentinel_password_file": {"type": "path", "default": "", "no_log": False},
}


def read_line(path: str) -> str | None:
    """Return the only line of a file, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return None


def remembered(path: str) -> str | None:
    """Return whom the state file names as primary; "" when nobody, None when it is not there."""
    text = read_line(path)
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


def passwords(declared: str, path: str) -> list[str]:
    """Return the passwords to try, the declared one first."""
    in_force = read_line(path) if path else None
    return [declared, *([in_force] if in_force else [])]


def server(module: AnsibleModule) -> dict[str, Any]:
    """Return what the server says, or why it does not."""
    try:
        known = passwords(module.params["password"], module.params["password_file"])
        client = login(module.params["socket"], module.params["user"], known)
        version = client.info("server")
        found = replication(client)
        client.close()
    except RedisError as error:
        return {"running": False, "problem": str(error)}
    named = version.get("valkey_version") or version.get("redis_version")
    return {"running": True, "problem": None, "version": named, **found}


def sentinel(module: AnsibleModule) -> dict[str, Any]:
    """Return whom the Sentinel takes for primary."""
    path = module.params["sentinel_socket"]
    if not path or not os.path.exists(path):
        return {}
    try:
        declared = module.params["sentinel_password"] or module.params["password"]
        known = passwords(declared, module.params["sentinel_password_file"])
        client = login(path, "dbops_admin", known)
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
    except OSError as error:
        module.fail_json(msg=f"The state of the server could not be read: {error}.")
    nothing: dict[str, Any] = {
        "version": None,
        "role": None,
        "primary": None,
        "link_up": None,
        "replicas": [],
        "unlisted_replicas": [],
        "sentinel_running": False,
        "sentinel_primary": None,
        "sentinel_quorum": None,
    }
    nothing["container"] = os.path.exists("/run/systemd/container")
    known = {"initialized": replicaof is not None, "replicaof": replicaof or ""}
    module.exit_json(changed=False, **{**nothing, **known, **server(module), **sentinel(module)})


if __name__ == "__main__":
    main()
