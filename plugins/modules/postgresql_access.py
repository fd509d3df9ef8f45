#!/usr/bin/python
"""Ansible module: bring all roles and privileges of a PostgreSQL server in order."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    # mitogen carries over only what a module imports by its full name: every part of the package.
    from ansible.module_utils.postgresql_access import (  # noqa: F401
        acl,
        catalog,
        databases,
        privileges,
        resolve,
        roles,
        scram,
        step,
    )
    from ansible.module_utils.postgresql_access.converge import Server, converge
    from ansible.module_utils.postgresql_access.declaration import load
    from ansible.module_utils.postgresql_access.names import AccessError, check_name
except ImportError as error:
    MISSING: str | None = str(error)
else:
    MISSING = None

DOCUMENTATION = r"""
module: postgresql_access
short_description: Bring roles, databases, grants and default privileges exactly to what is declared
description:
  - One call looks at the whole server and changes only what differs. What is the same is not
    touched, and nothing is locked or written when nothing differs.
  - Roles are changed in one transaction. Missing databases are created. Then each database is
    changed in one transaction of its own, which is rolled back when anything in it fails.
  - With O(exact) everything that was not declared is taken back. In managed databases that is every
    privilege on the database, on schemas, tables, columns, sequences, functions, types, languages,
    foreign data wrappers, foreign servers and large objects, and every default privilege; in the
    whole server, privileges on settings and tablespaces, and memberships, attributes and settings
    of roles. Predefined roles (C(pg_*)) keep what they came with and nothing else.
  - Never touched are privileges of owners on their own objects, of superusers and of
    O(protected_roles), the initial privileges of the system catalogue and of extensions, and
    databases that are not declared. Nothing changes its owner but declared databases and schemas,
    and nothing is dropped.
  - In managed databases C(PUBLIC) loses C(CONNECT) and C(TEMPORARY), and C(CREATE) in the schema
    C(public), unless granted here.
  - Names are taken literally. Passwords are compared with, and sent as, SCRAM-SHA-256 verifiers, so
    the server never sees a plain one.
  - Check mode computes the same statements and executes none of them.
requirements:
  - psycopg >= 3.1 in the Python that runs the module
options:
  socket_dir:
    description: Directory of the server's Unix socket.
    type: path
    default: /run/postgresql
  port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: Superuser to connect as.
    type: str
    default: postgres
  maintenance_database:
    description: Database to connect to for what concerns the whole server.
    type: str
    default: postgres
  lock_timeout_seconds:
    description: How long to wait for any lock before giving up.
    type: int
    default: 10
  exact:
    description: Whether to take back what was not declared. When false, things are only added.
    type: bool
    default: true
  protected_roles:
    description:
      - Shell patterns of roles that are not touched and need not be declared. The role that made
        the cluster and O(login_user) are always protected, and so are the predefined roles
        (C(pg_*)), but for privileges and memberships that they did not come with.
    type: list
    elements: str
    default: [postgres]
  drop_undeclared_roles:
    description:
      - Whether to drop undeclared roles. One that is connected or owns anything is kept, without
        login, and named in a warning.
    type: bool
    default: false
  scram_iterations:
    description: Least number of iterations of a stored verifier, and that of new ones.
    type: int
    default: 4096
  roles:
    description:
      - Every role that shall be there. With O(exact), attributes not given get the defaults
        of PostgreSQL, and all other roles lose login, attributes, memberships and privileges.
      - When left out, roles are not managed, only privileges.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      login:
        description: Whether it may log in.
        type: bool
      superuser:
        description: Whether it is a superuser.
        type: bool
      createdb:
        description: Whether it may create databases.
        type: bool
      createrole:
        description: Whether it may create roles.
        type: bool
      replication:
        description: Whether it may start replication.
        type: bool
      bypassrls:
        description: Whether it passes row level security.
        type: bool
      inherit:
        description: Whether it has the privileges of its groups without C(SET ROLE).
        type: bool
      connection_limit:
        description: Most connections at once; -1 for no limit.
        type: int
      valid_until:
        description: When its password stops to work, as PostgreSQL reads it.
        type: str
      password:
        description: Its password, or a SCRAM-SHA-256 verifier. When left out it is not touched.
        type: str
      passwordless:
        description: Whether to remove a stored password.
        type: bool
        default: false
      member_of:
        description: Roles it is a member of.
        type: list
        elements: str
      settings:
        description:
          - Settings for its sessions. Lists of names such as C(search_path) may be a list or text.
        type: dict
  databases:
    description: Databases to manage; missing ones are created.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the database.
        type: str
        required: true
      owner:
        description: Its owner. When left out it is not touched.
        type: str
      encoding:
        description: Encoding at creation.
        type: str
      template:
        description: Template at creation; C(template0) when an encoding or locale is given.
        type: str
      lc_collate:
        description: Collation at creation.
        type: str
      lc_ctype:
        description: Character type at creation.
        type: str
      connection_limit:
        description: Most connections at once; -1 for no limit.
        type: int
      extensions:
        description: Extensions to create, each a name or a dictionary of C(name) and C(schema).
        type: list
        elements: raw
        default: []
      schemas:
        description: Schemas to create.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the schema.
            type: str
            required: true
          owner:
            description: Its owner; a new schema gets the declared owner of the database.
            type: str
  grants:
    description:
      - Privileges. With a O(grants[].database) only, on the database; with a
        O(grants[].schema), on the schema; with any kind of object, on these.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: Who gets them; C(PUBLIC) for everybody.
        type: str
        required: true
      database:
        description: A database of O(databases). Left out for parameters and tablespaces.
        type: str
      schema:
        description: The schema, or the schema of the objects.
        type: str
      tables:
        description: C(all), or names. Tables, partitions, views, materialized and foreign ones.
        type: raw
      columns:
        description: Columns of the named tables to which the privileges are limited.
        type: list
        elements: str
      sequences:
        description: C(all), or names.
        type: raw
      functions:
        description:
          - C(all) in the schema, or full signatures such as C(pg_catalog.pg_switch_wal()), written
            as in SQL.
        type: raw
      function:
        description: One function by its full signature.
        type: str
      types:
        description: C(all) in the schema, or names of types and domains.
        type: raw
      languages:
        description: Names of languages.
        type: list
        elements: str
      wrappers:
        description: Names of foreign data wrappers.
        type: list
        elements: str
      servers:
        description: Names of foreign servers.
        type: list
        elements: str
      large_objects:
        description: C(all) in the database, or numbers of large objects.
        type: raw
      parameters:
        description: Settings of the server, for C(SET) and C(ALTER SYSTEM); PostgreSQL 15 or later.
        type: list
        elements: str
      tablespaces:
        description: Names of tablespaces.
        type: list
        elements: str
      privileges:
        description: Privileges as in SQL; C(ALL) for all.
        type: list
        elements: str
        required: true
      grant_option:
        description: Whether they may be passed on.
        type: bool
        default: false
  default_privileges:
    description:
      - Privileges on objects that a role will create. On those it has created they are tolerated,
        but not added.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: A database of O(databases).
        type: str
        required: true
      owner:
        description: The role that will create the objects.
        type: str
        required: true
      schema:
        description: Schema they will be in; every schema when left out.
        type: str
      objects:
        description: Kind of object.
        type: str
        required: true
        choices: [tables, sequences, functions, types, schemas, large_objects]
      role:
        description: Who gets them; C(PUBLIC) for everybody.
        type: str
        required: true
      privileges:
        description: Privileges as in SQL; C(ALL) for all.
        type: list
        elements: str
        required: true
      grant_option:
        description: Whether they may be passed on.
        type: bool
        default: false
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
  postgresql_access:
    roles:
      - name: app_owner
      - name: app
        login: true
        password: "{{ app_password }}"
        connection_limit: 50
        settings: {search_path: [app, public], statement_timeout: 30s}
      - name: watcher
        login: true
        member_of: [pg_monitor]
    databases:
      - name: postgres
      - name: app
        owner: app_owner
        extensions: [pg_trgm]
        schemas: [{name: app, owner: app_owner}]
    grants:
      - {role: app, database: app, privileges: [CONNECT]}
      - {role: app, database: app, schema: app, privileges: [USAGE]}
      - {role: app, database: app, schema: app, tables: all, privileges: [SELECT, INSERT, UPDATE]}
      - {role: watcher, database: postgres, privileges: [CONNECT]}
      - role: watcher
        database: postgres
        functions: ["pg_catalog.pg_switch_wal()"]
        privileges: [EXECUTE]
      - {role: watcher, parameters: [log_min_duration_statement], privileges: [SET]}
    default_privileges:
      - {database: app, owner: app_owner, schema: app, objects: tables, role: app,
         privileges: [SELECT, INSERT, UPDATE]}
  become: true
  become_user: postgres
"""

RETURN = r"""
changes:
  description: One line for people for each statement, in the same order.
  type: list
  elements: str
  returned: success
statements:
  description: The SQL that was executed, or would be, with passwords masked.
  type: list
  elements: str
  returned: success
undeclared_roles:
  description: Roles that are there but neither declared nor protected.
  type: list
  elements: str
  returned: success
undeclared_databases:
  description: Databases that are there but not declared; they are not touched.
  type: list
  elements: str
  returned: success
undeclared_owners:
  description: What belongs to roles that are declared as owner of nothing; it is not changed.
  type: list
  elements: str
  returned: success
"""


def _options(kind: str, *names: str, **more: Any) -> dict[str, Any]:
    return {name: {"type": kind, **more} for name in names}


def _records(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options, **more}


STRINGS: dict[str, Any] = {"type": "list", "elements": "str"}
NAME = _options("str", "name", required=True)
ROLE = {
    **NAME,
    **_options("bool", "login", "superuser", "createdb", "createrole"),
    **_options("bool", "replication", "bypassrls", "inherit"),
    **_options("int", "connection_limit"),
    **_options("str", "valid_until"),
    **_options("str", "password", no_log=True),
    **_options("bool", "passwordless", default=False, no_log=False),
    "member_of": STRINGS,
    **_options("dict", "settings"),
}
DATABASE = {
    **NAME,
    **_options("str", "owner", "encoding", "template", "lc_collate", "lc_ctype"),
    **_options("int", "connection_limit"),
    "extensions": {"type": "list", "elements": "raw", "default": []},
    "schemas": _records({**NAME, **_options("str", "owner")}, default=[]),
}
RULE = {
    **_options("str", "role", required=True),
    **_options("str", "schema"),
    "privileges": {**STRINGS, "required": True},
    **_options("bool", "grant_option", default=False),
}
LISTS = ("columns", "languages", "wrappers", "servers", "parameters", "tablespaces")
GRANT = {
    **RULE,
    **_options("raw", "tables", "sequences", "functions", "types", "large_objects"),
    **_options("str", "database", "function"),
    **dict.fromkeys(LISTS, STRINGS),
}
KINDS = ["tables", "sequences", "functions", "types", "schemas", "large_objects"]
DEFAULT = {
    **RULE,
    **_options("str", "database", "owner", required=True),
    **_options("str", "objects", required=True, choices=KINDS),
}
ARGUMENTS: dict[str, Any] = {
    **_options("path", "socket_dir", default="/run/postgresql"),
    **_options("int", "port", default=5432),
    **_options("str", "login_user", default="postgres"),
    **_options("str", "maintenance_database", default="postgres"),
    **_options("int", "lock_timeout_seconds", default=10),
    **_options("bool", "exact", default=True),
    "protected_roles": {**STRINGS, "default": ["postgres"]},
    **_options("bool", "drop_undeclared_roles", default=False),
    **_options("int", "scram_iterations", default=4096),
    "roles": _records(ROLE),
    "databases": _records(DATABASE, default=[]),
    "grants": _records(GRANT, default=[]),
    "default_privileges": _records(DEFAULT, default=[]),
}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what was asked; return the result. Raises AccessError with one sentence."""
    parameters = module.params
    if parameters["scram_iterations"] < 4096:
        raise AccessError("scram_iterations must be at least 4096.")
    server = Server(
        socket_dir=parameters["socket_dir"],
        port=parameters["port"],
        user=check_name(parameters["login_user"], "login_user"),
        maintenance_database=check_name(parameters["maintenance_database"], "maintenance_database"),
        lock_timeout_seconds=parameters["lock_timeout_seconds"],
    )
    outcome = converge(server, load(parameters), module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    for line in outcome.undeclared_owners:
        module.warn(f"Nobody is declared as its owner: {line}.")
    report: dict[str, Any] = outcome.report()
    return report


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if MISSING is not None:
        module.fail_json(msg=f"{missing_required_lib('psycopg')} ({MISSING})")
    try:
        module.exit_json(**run(module))
    except AccessError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
