#!/usr/bin/python
"""Ansible module: bring all accounts and privileges of a server in order."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    # mitogen carries over only what a module imports by its full name: every part of the package.
    from ansible.module_utils.mysql_access import (  # noqa: F401
        catalog,
        catalog_mysql,
        declaration,
        dialect,
        digest,
        plan,
        sha2,
    )
    from ansible.module_utils.mysql_access.converge import converge
    from ansible.module_utils.mysql_access.names import AccessError
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None

DOCUMENTATION = r"""
module: mysql_access
short_description: Bring accounts, roles, databases and grants exactly to what is declared
description:
  - One call looks at the whole server and changes only what differs.
  - With O(exact) everything that was not declared is taken back - privileges on every level, of
    roles and C(PUBLIC), too, proxies, memberships in roles and the right to pass them on, second
    passwords - undeclared accounts are locked, anonymous ones dropped, and so is an empty database
    C(test).
  - C(ALL) is replaced by the privileges that this server knows on that level, and compared one by
    one, so it never makes a change twice.
  - Never touched are privileges of O(superusers), and what the server's own accounts come with;
    those are kept locked. Nothing else is ever dropped.
  - Names are taken literally; in the name of a database C(_) and C(%) are no patterns.
  - Passwords are compared with, and sent as, the digests that the server stores; neither its logs
    nor its binary logs ever hold a plain one.
  - What is changed goes into the binary log, so that replicas get it. It runs on the primary only.
  - Check mode computes the same statements and executes none of them.
requirements:
  - PyMySQL in the Python that runs the module
options:
  socket:
    description: Socket of the server; it is asked as root.
    type: path
    default: /run/mysqld/mysqld.sock
  exact:
    description: Whether to take back what was not declared. When false, things are only added.
    type: bool
    default: true
  superusers:
    description: Accounts, as C(name@host), whose privileges are not touched.
    type: list
    elements: str
    default: [root@localhost]
  drop_undeclared:
    description: Whether to drop undeclared accounts and roles instead of locking them.
    type: bool
    default: false
  users:
    description: Every account that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      host: {description: Where it may come from., type: str, default: "%"}
      plugin:
        description: >-
          How it logs in. MariaDB has C(ed25519), which is its default, and
          C(mysql_native_password); MySQL has C(caching_sha2_password). Both can tell by
          C(unix_socket) who runs the client.
        type: str
      password:
        description: Its password, or the digest that the plugin stores. Left alone when not given.
        type: str
      require:
        description:
          - "What the connection needs: NONE, SSL, X509, or SUBJECT and the subject of the one"
          - certificate that may be shown, such as C(SUBJECT /CN=app1).
        type: str
        default: NONE
      locked: {description: Whether it is locked., type: bool, default: false}
      roles: {description: Roles it has., type: list, elements: str}
      default_role:
        description: Role it starts with; its only one when it has one.
        type: str
      max_queries_per_hour: {description: Limit; 0 for none., type: int}
      max_updates_per_hour: {description: Limit; 0 for none., type: int}
      max_connections_per_hour: {description: Limit; 0 for none., type: int}
      max_user_connections: {description: Connections at once; 0 for the server's limit., type: int}
  roles:
    description: Every role that shall be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      member_of: {description: Roles it has., type: list, elements: str}
  databases:
    description: Databases to have. None is ever dropped but an empty C(test).
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      charset: {description: Default character set., type: str}
      collation: {description: Default collation., type: str}
  grants:
    description:
      - Privileges. Without a database, on everything; with a database only, on all of it; with
        tables, columns or routines, on these.
    type: list
    elements: dict
    default: []
    suboptions:
      user: {description: Account that gets them., type: str}
      host: {description: Its host., type: str, default: "%"}
      role: {description: Role that gets them; C(PUBLIC) for everybody., type: str}
      database: {description: Database., type: str}
      tables: {description: Tables or views., type: list, elements: str}
      columns: {description: Columns of the one table., type: list, elements: str}
      routines:
        description: >-
          Routines, each as C(PROCEDURE name) or C(FUNCTION name); in MariaDB also C(PACKAGE name)
          and C(PACKAGE BODY name).
        type: list
        elements: str
      privileges:
        description: Privileges as in SQL; C(ALL) for all.
        type: list
        elements: str
        required: true
      grant_option: {description: Whether they may be passed on., type: bool, default: false}
attributes:
  check_mode:
    support: full
    description: Computes the same statements and executes nothing.
  diff_mode:
    support: full
    description: Lists what goes and what comes, sorted, without passwords.
author:
  - dbops
"""

EXAMPLES = r"""
- name: Bring access in order
  mysql_access:
    databases:
      - {name: app, charset: utf8mb4}
    roles:
      - {name: app_writer}
    users:
      - {name: app, host: 10.0.0.%, password: "{{ secret }}", require: SSL, roles: [app_writer]}
    grants:
      - {role: app_writer, database: app, privileges: [SELECT, INSERT, UPDATE, DELETE]}
"""

RETURN = r"""
changes:
  description: One line for people for each statement, in the same order.
  type: list
  elements: str
  returned: success
statements:
  description: The SQL that was executed, or would be, with digests masked.
  type: list
  elements: str
  returned: success
undeclared:
  description: Accounts and roles that are there but not declared.
  type: list
  elements: str
  returned: success
"""


def _options(kind: str, *names: str, **more: Any) -> dict[str, Any]:
    return {name: {"type": kind, **more} for name in names}


def _records(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


STRINGS: dict[str, Any] = {"type": "list", "elements": "str"}
NAME = _options("str", "name", required=True)
HOST = _options("str", "host", default="%")
USER = {
    **NAME,
    **HOST,
    **_options("str", "plugin"),
    **_options("str", "password", no_log=True),
    **_options("str", "require", default="NONE"),
    **_options("bool", "locked", default=False),
    "roles": STRINGS,
    **_options("str", "default_role"),
    **_options("int", "max_queries_per_hour", "max_updates_per_hour"),
    **_options("int", "max_connections_per_hour", "max_user_connections"),
}
GRANT = {
    **HOST,
    **_options("str", "user", "role", "database"),
    "tables": STRINGS,
    "columns": STRINGS,
    "routines": STRINGS,
    "privileges": {**STRINGS, "required": True},
    **_options("bool", "grant_option", default=False),
}
ARGUMENTS: dict[str, Any] = {
    **_options("path", "socket", default="/run/mysqld/mysqld.sock"),
    **_options("bool", "exact", default=True),
    "superusers": {**STRINGS, "default": ["root@localhost"]},
    **_options("bool", "drop_undeclared", default=False),
    "users": _records(USER),
    "roles": _records({**NAME, "member_of": STRINGS}),
    "databases": _records({**NAME, **_options("str", "charset", "collation")}),
    "grants": _records(GRANT),
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if MISSING is not None:
        module.fail_json(msg=f"{missing_required_lib('PyMySQL')} ({MISSING})")
    try:
        module.exit_json(**converge(module.params["socket"], module.params, module.check_mode))
    except AccessError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
