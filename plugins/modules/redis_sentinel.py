#!/usr/bin/python
"""Ansible module: what a Sentinel watches, its accounts and its settings, in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_sentinel
short_description: Teach a Sentinel a cluster and leave what it found out itself
description:
  - Lets the Sentinel watch the cluster if it does not, and changes only settings that differ.
  - A Sentinel that knows the cluster keeps its own word on who is primary.
  - Brings its accounts to the declared ones without dropping a client.
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
  accounts:
    description: All accounts that there may be, as M(redis_server) takes them.
    type: list
    elements: dict
    suboptions:
      name: {description: Name., type: str, required: true}
      enabled: {description: Whether it may log in., type: bool, default: true}
      hashes:
        description: SHA-256 of each of its passwords, in hexadecimal.
        type: list
        elements: str
        default: []
      rules:
        description: Its rights, as C(ACL SETUSER) takes them.
        type: list
        elements: str
        default: []
  keep_passwords:
    description: Let the passwords in force stay valid beside the declared ones.
    type: bool
    default: false
  acl_file: {description: ACL file., type: path, required: true}
  acl_group: {description: Group that may read it., type: str, default: root}
  config_file:
    description: File that the Sentinel rewrites; it holds what it does not tell.
    type: path
    required: true
  cluster: {description: Name of the cluster., type: str, required: true}
  watch: {description: Whether it is to be watched., type: bool, default: true}
  primary:
    description: Primary to begin with, C(host port). Empty leaves an unknown cluster unknown.
    type: str
    default: ""
  quorum: {description: Sentinels that must agree., type: int, default: 2}
  settings: {description: Settings as C(SENTINEL SET) takes them., type: dict, default: {}}
  servers:
    description: Account with which it logs in on the servers.
    type: dict
    suboptions:
      user: {description: Name., type: str, required: true}
      password: {description: Its password., type: str, required: true}
  peers:
    description: Account with which it logs in on the other Sentinels.
    type: dict
    suboptions:
      user: {description: Name., type: str, required: true}
      password: {description: Its password., type: str, required: true}
author: dbops
"""

EXAMPLES = r"""
- name: Watch the cluster
  redis_sentinel:
    login:
      socket: /run/dbops-redis-sentinel-demo/sentinel.sock
      user: dbops_sentinel
      password: "{{ redis_sentinel_password }}"
    acl_file: /etc/dbops-redis/demo/sentinel.acl
    config_file: /var/lib/dbops-redis/demo/sentinel/sentinel.conf
    cluster: demo
    primary: 192.0.2.11 6379
"""

RETURN = r"""
actions:
  description: What was or would be done, one line each.
  type: list
  elements: str
  returned: always
running: {description: Whether the Sentinel answered., type: bool, returned: always}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

# mitogen carries over only what a module imports by its full name: every part of the package.
from ansible.module_utils.redis_server import accounts, commands  # noqa: F401
from ansible.module_utils.redis_server.client import Client, RedisError
from ansible.module_utils.redis_server.host import COMMON, Report, connect, converge_accounts

IDENTITY: dict[str, Any] = {
    "type": "dict",
    "options": {
        "user": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
    },
}
ARGUMENTS: dict[str, Any] = {
    **COMMON,
    "config_file": {"type": "path", "required": True},
    "cluster": {"type": "str", "required": True},
    "watch": {"type": "bool", "default": True},
    "primary": {"type": "str", "default": ""},
    "quorum": {"type": "int", "default": 2},
    "settings": {"type": "dict", "default": {}},
    "servers": IDENTITY,
    "peers": IDENTITY,
}
SECRET = {"auth-pass", "sentinel-pass"}


class Sentinel:
    """One Sentinel, and the report of what is changed on it."""

    def __init__(self, client: Client, parameters: dict[str, Any], check_mode: bool) -> None:
        self.client, self.parameters, self.check_mode = client, parameters, check_mode
        self.report = Report()

    def watched(self) -> dict[str, str]:
        """Return what it says about the cluster; nothing when it does not watch it."""
        for one in self.client.call("SENTINEL", "MASTERS"):
            entry = dict(zip(one[::2], one[1::2], strict=True))
            if entry["name"] == self.parameters["cluster"]:
                return entry
        return {}

    def change(self, name: str, before: str, after: str, *command: object) -> None:
        """Note one change and make it."""
        if name in SECRET:
            before, after = ("(another secret)" if before else ""), "(the secret)"
        lines = [[f"{name} {value}"] if value else [] for value in (before, after)]
        self.report.note("sentinel", lines[0], lines[1], [f"set {name}"])
        if not self.check_mode:
            self.client.call("SENTINEL", *command)

    def peers(self) -> None:
        """Bring the account used between Sentinels to what is declared."""
        peers = self.parameters["peers"] or {"user": "", "password": ""}
        wanted = {"sentinel-user": peers["user"], "sentinel-pass": peers["password"]}
        for name, value in wanted.items():
            now = self.client.table("SENTINEL", "CONFIG", "GET", name).get(name) or ""
            if value and now != value:
                self.change(name, now, value, "CONFIG", "SET", name, value)

    def watch(self) -> None:
        """Watch the cluster and bring its settings to what is declared."""
        cluster, now = self.parameters["cluster"], self.watched()
        if not now:
            primary = self.parameters["primary"]
            if not primary:
                return
            words = ("MONITOR", cluster, *primary.split(), self.parameters["quorum"])
            self.change("monitor", "", f"{cluster} {primary}", *words)
            now = {} if self.check_mode else self.watched()
        secrets = written(self.parameters["config_file"], cluster)
        settings = {**self.parameters["settings"], "quorum": self.parameters["quorum"]}
        servers = self.parameters["servers"] or {"user": "", "password": ""}
        settings |= {"auth-user": servers["user"], "auth-pass": servers["password"]}
        for name, value in settings.items():
            before = secrets.get(name, now.get(name, ""))
            if value and before != str(value):
                self.change(name, before, str(value), "SET", cluster, name, value)

    def forget(self) -> None:
        """Watch the cluster no more: it fails nothing over while somebody works on it."""
        if self.watched():
            cluster = self.parameters["cluster"]
            self.change("monitor", cluster, "", "REMOVE", cluster)


def written(path: str, cluster: str) -> dict[str, str]:
    """Return the login that a Sentinel keeps for the cluster, which only its file tells."""
    with open(path, encoding="utf-8") as stream:
        words = [line.split() for line in stream]
    found = {"auth-user": "", "auth-pass": ""}
    for line in words:
        if len(line) == 4 and line[0] == "sentinel" and line[2] == cluster and line[1] in found:
            found[line[1]] = line[3].strip('"')
    return found


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what was asked; return the result. Raises RedisError with the Sentinel's words."""
    parameters = module.params
    client = connect(parameters["login"])
    report = Report()
    if client is None:
        converge_accounts(None, parameters, report, module.check_mode)
    else:
        sentinel = Sentinel(client, parameters, module.check_mode)
        report = sentinel.report
        converge_accounts(client, parameters, report, module.check_mode)
        if parameters["watch"]:
            sentinel.peers()
            sentinel.watch()
        else:
            sentinel.forget()
        client.close()
    return {
        "changed": bool(report.actions),
        "actions": report.actions,
        "running": client is not None,
        "diff": report.diff,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except (OSError, RedisError, KeyError) as error:
        module.fail_json(msg=f"redis_sentinel: {error}")


if __name__ == "__main__":
    main()
