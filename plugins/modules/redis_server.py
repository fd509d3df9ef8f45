#!/usr/bin/python
"""Ansible module: accounts, settings and the primary of one running server, in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_server
short_description: Bring accounts, settings and the primary of a Redis server to what is declared
description:
  - Writes the ACL file and makes the server's accounts the same without dropping a client.
  - Sets what differs from the declared settings and names those that wait for a restart.
  - Lets a replica follow another primary. A primary stays one.
  - A server that does not run gets its ACL file only.
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
    description:
      - All accounts that there may be; C(default) is off unless it is among them.
      - Left out, none is touched.
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
  settings: {description: Settings as C(CONFIG SET) takes them., type: dict, default: {}}
  secret_settings:
    description: Settings of which the value is never shown.
    type: list
    elements: str
    default: []
  primary:
    description: Whom a replica has to follow, C(host port). Empty leaves it.
    type: str
    default: ""
  certificates:
    description: The settings that name certificates and keys, set together.
    type: dict
    default: {}
  reload_certificate:
    description: Read the certificates that are on disk now, also when the settings are right.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Rights are compared by an account that is off and lives for a moment in memory.
  diff_mode: {support: full, description: Hashes are cut.}
author: dbops
"""

EXAMPLES = r"""
- name: Reconcile the accounts
  redis_server:
    login:
      socket: /run/dbops-redis-demo/redis.sock
      user: dbops_admin
      password: "{{ redis_admin_password }}"
    acl_file: /etc/dbops-redis/demo/users.acl
    accounts: "{{ redis_users | dbops_redis_accounts }}"
"""

RETURN = r"""
actions:
  description: What was or would be done, one line each.
  type: list
  elements: str
  returned: always
pending_restart:
  description: Settings that wait for a restart.
  type: list
  elements: str
  returned: always
running: {description: Whether the server answered., type: bool, returned: always}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

# mitogen carries over only what a module imports by its full name: every part of the package.
from ansible.module_utils.redis_server import accounts, commands, settings  # noqa: F401
from ansible.module_utils.redis_server.client import Client, RedisError
from ansible.module_utils.redis_server.host import COMMON, Report, connect, converge_accounts

ARGUMENTS: dict[str, Any] = {
    **COMMON,
    "settings": {"type": "dict", "default": {}},
    "secret_settings": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "primary": {"type": "str", "default": ""},
    "certificates": {"type": "dict", "default": {}},
    "reload_certificate": {"type": "bool", "default": False},
}


def follow(client: Client, primary: str, report: Report, check_mode: bool) -> None:
    """Let a replica follow ``primary``; leave whoever is a primary itself."""
    info = client.info("replication")
    now = f"{info.get('master_host')} {info.get('master_port')}"
    if info["role"] != "slave" or now == primary:
        return
    lines = [f"replicaof {now}"], [f"replicaof {primary}"]
    report.note("replication", *lines, [f"follow {primary}"])
    if not check_mode:
        client.wait_loaded()  # it may be copying a primary right now
        client.call("REPLICAOF", *primary.split())
        client.call("CONFIG", "REWRITE")


def show_certificates(
    client: Client, files: dict[str, str], again: bool, report: Report, check_mode: bool
) -> None:
    """Let new connections get the certificates in ``files``, read anew if ``again``."""
    now = client.table("CONFIG", "GET", "tls-*-file")
    differ = [name for name in files if now.get(name) != files[name]]
    lines = ([f"{name} {now.get(name)}" for name in differ], [f"{n} {files[n]}" for n in differ])
    if not differ and not again:
        return
    report.note("certificates of the server", *lines, ["show the certificates on disk"])
    if not check_mode:
        client.call("CONFIG", "SET", *(word for pair in files.items() for word in pair))


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what was asked; return the result. Raises RedisError with the server's words."""
    parameters, check_mode, report = module.params, module.check_mode, Report()
    client = connect(parameters["login"])
    converge_accounts(client, parameters, report, check_mode)
    if client:
        texts = {name: str(value) for name, value in parameters["settings"].items()}
        changed = settings.converge(client, texts, parameters["secret_settings"], check_mode)
        report.note("settings of the server", changed.before, changed.after, changed.actions)
        report.pending_restart = changed.pending_restart
        if parameters["primary"]:
            follow(client, parameters["primary"], report, check_mode)
        if files := parameters["certificates"]:
            again = parameters["reload_certificate"]
            show_certificates(client, files, again, report, check_mode)
        client.close()
    return {
        "changed": bool(report.actions),
        "actions": report.actions,
        "pending_restart": report.pending_restart,
        "running": client is not None,
        "diff": report.diff,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except (OSError, RedisError, KeyError) as error:
        module.fail_json(msg=f"redis_server: {error}")


if __name__ == "__main__":
    main()
