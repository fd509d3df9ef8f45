"""What should be: the module's arguments, checked and turned into frozen records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .names import PUBLIC, AccessError, check_name, shown

FLAGS = (
    *("login", "superuser", "createdb", "createrole"),
    *("replication", "bypassrls", "inherit"),
)
IN_SCHEMA = {
    "tables": "table",
    "sequences": "sequence",
    "functions": "function",
    "types": "type",
}
IN_DATABASE = {
    "languages": "language",
    "wrappers": "foreign data wrapper",
    "servers": "foreign server",
    "large_objects": "large object",
}
ON_SERVER = {"parameters": "parameter", "tablespaces": "tablespace"}
KINDS = {**IN_SCHEMA, **IN_DATABASE, **ON_SERVER}
ALL_OF = (*IN_SCHEMA, "large_objects")
DEFAULT_KINDS = {**IN_SCHEMA, "schemas": "schema", "large_objects": "large object"}
PRIVILEGES = {
    "database": ("CONNECT", "CREATE", "TEMPORARY"),
    "schema": ("CREATE", "USAGE"),
    "table": ("DELETE", "INSERT", "REFERENCES", "SELECT", "TRIGGER", "TRUNCATE", "UPDATE"),
    "column": ("INSERT", "REFERENCES", "SELECT", "UPDATE"),
    "sequence": ("SELECT", "UPDATE", "USAGE"),
    "function": ("EXECUTE",),
    "type": ("USAGE",),
    "language": ("USAGE",),
    "foreign data wrapper": ("USAGE",),
    "foreign server": ("USAGE",),
    "large object": ("SELECT", "UPDATE"),
    "parameter": ("ALTER SYSTEM", "SET"),
    "tablespace": ("CREATE",),
}
RESERVED = ("PUBLIC", "public", "none")
SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")


@dataclass(frozen=True)
class Role:
    """A declared role. None means: not said."""

    name: str
    flags: Mapping[str, bool | None]
    connection_limit: int | None = None
    valid_until: str | None = None
    password: str | None = field(default=None, repr=False)
    passwordless: bool = False
    member_of: tuple[str, ...] | None = None
    settings: Mapping[str, str | tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Extension:
    """An extension to be there, in the schema it asks for unless one is named."""

    name: str
    schema: str | None = None


@dataclass(frozen=True)
class Schema:
    """A schema to be there."""

    name: str
    owner: str | None = None


@dataclass(frozen=True)
class Database:
    """A managed database."""

    name: str
    owner: str | None = None
    encoding: str | None = None
    template: str | None = None
    lc_collate: str | None = None
    lc_ctype: str | None = None
    connection_limit: int | None = None
    extensions: tuple[Extension, ...] = ()
    schemas: tuple[Schema, ...] = ()


@dataclass(frozen=True)
class GrantRule:
    """A declared grant. ``names`` None means every object of the kind in ``schema``.

    ``database`` is empty for what belongs to the whole server.
    """

    where: str
    role: str
    database: str
    kind: str
    privileges: tuple[str, ...]
    schema: str = ""
    names: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    grant_option: bool = False


@dataclass(frozen=True)
class DefaultRule:
    """A declared default privilege of objects that ``owner`` will create."""

    where: str
    role: str
    database: str
    owner: str
    objects: str
    privileges: tuple[str, ...]
    schema: str = ""
    grant_option: bool = False


@dataclass(frozen=True)
class Declaration:
    """Everything that was declared. ``roles`` None means: roles are managed elsewhere."""

    roles: Mapping[str, Role] | None
    databases: Mapping[str, Database]
    grants: tuple[GrantRule, ...]
    defaults: tuple[DefaultRule, ...]
    exact: bool = True
    protected: tuple[str, ...] = ("postgres",)
    drop_undeclared: bool = False
    scram_iterations: int = 4096

    def is_protected(self, role: str) -> bool:
        """Tell whether a role is out of bounds; predefined ones always are."""
        return role.startswith("pg_") or self.is_named(role)

    def is_named(self, role: str) -> bool:
        """Tell whether a role is among those that were declared to be out of bounds."""
        return any(fnmatchcase(role, pattern) for pattern in self.protected)


def expand(kind: str, privileges: Iterable[str], version: int, where: str) -> tuple[str, ...]:
    """Return the privileges in full for a server of major ``version``.

    Raises AccessError for one that this kind of object does not have.
    """
    known = PRIVILEGES[kind] + (("MAINTAIN",) if kind == "table" and version >= 17 else ())
    found: set[str] = set()
    for privilege in privileges:
        if privilege in ("ALL", "ALL PRIVILEGES"):
            found.update(known)
        elif privilege in known:
            found.add(privilege)
        else:
            raise AccessError(
                f"{where}: {shown(privilege)} is not a privilege of a {kind} in PostgreSQL"
                f" {version}; known are {', '.join(known)}."
            )
    return tuple(sorted(found))


def load(parameters: Mapping[str, Any]) -> Declaration:
    """Turn the module's arguments into a declaration.

    Raises AccessError with one sentence for the first thing that cannot be meant.
    """
    roles = None if parameters["roles"] is None else [_role(item) for item in parameters["roles"]]
    databases = [_database(item) for item in parameters["databases"]]
    declaration = Declaration(
        roles=None if roles is None else _by_name("role", roles),
        databases=_by_name("database", databases),
        grants=tuple(_grant(item, n) for n, item in enumerate(parameters["grants"], 1)),
        defaults=tuple(
            _default(item, n) for n, item in enumerate(parameters["default_privileges"], 1)
        ),
        exact=parameters["exact"],
        protected=tuple(parameters["protected_roles"]),
        drop_undeclared=parameters["drop_undeclared_roles"],
        scram_iterations=parameters["scram_iterations"],
    )
    _check_together(declaration)
    return declaration


def _by_name(what: str, items: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        if item.name in found:
            raise AccessError(f"The {what} {shown(item.name)} is declared twice.")
        found[item.name] = item
    return found


def _check_together(declaration: Declaration) -> None:
    for name in declaration.roles or ():
        if declaration.is_protected(name):
            raise AccessError(
                f"The role {shown(name)} is protected, so it cannot be declared; take it out of"
                " protected_roles or out of roles."
            )
    rules: list[GrantRule | DefaultRule] = [*declaration.grants, *declaration.defaults]
    for rule in rules:
        if rule.database and rule.database not in declaration.databases:
            raise AccessError(f"{rule.where}: database {shown(rule.database)} is not declared.")


def _role(item: Mapping[str, Any]) -> Role:
    name = check_name(item["name"], "roles")
    where = f"Role {shown(name)}"
    if name in RESERVED or name.startswith("pg_"):
        raise AccessError(f"{where}: PostgreSQL keeps this name for itself.")
    password = item["password"]
    if password is not None and (not password or "\0" in password):
        raise AccessError(f"{where}: the password is empty or holds a NUL character.")
    if password is not None and item["passwordless"]:
        raise AccessError(f"{where}: password and passwordless exclude each other.")
    member_of = item["member_of"]
    return Role(
        name=name,
        flags={flag: item[flag] for flag in FLAGS},
        connection_limit=item["connection_limit"],
        valid_until=item["valid_until"],
        password=password,
        passwordless=item["passwordless"],
        member_of=None if member_of is None else tuple(check_name(m, where) for m in member_of),
        settings=None if item["settings"] is None else _settings(item["settings"], where),
    )


def _settings(items: Mapping[str, Any], where: str) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    for key, value in items.items():
        if not SETTING.fullmatch(key):
            raise AccessError(f"{where}: {shown(key)} is not the name of a setting.")
        if isinstance(value, list):
            found[key] = tuple(map(str, value))
        elif isinstance(value, bool):
            found[key] = "on" if value else "off"
        elif isinstance(value, (str, int, float)):
            found[key] = str(value)
        else:
            raise AccessError(f"{where}: the setting {key} needs a text, a number or a list.")
        if "\0" in "".join(found[key]):
            raise AccessError(f"{where}: the setting {key} holds a NUL character.")
    return found


def _database(item: Mapping[str, Any]) -> Database:
    name = check_name(item["name"], "databases")
    where = f"Database {shown(name)}"
    if name == "template0":
        raise AccessError(f"{where} cannot be managed, as it takes no connections.")
    schemas = [
        Schema(check_name(s["name"], where), _optional(s["owner"], where)) for s in item["schemas"]
    ]
    extensions = [_extension(extension, where) for extension in item["extensions"]]
    return Database(
        name=name,
        owner=_optional(item["owner"], where),
        encoding=item["encoding"],
        template=_optional(item["template"], where),
        lc_collate=item["lc_collate"],
        lc_ctype=item["lc_ctype"],
        connection_limit=item["connection_limit"],
        extensions=tuple(_by_name(f"{where}: extension", extensions).values()),
        schemas=tuple(_by_name(f"{where}: schema", schemas).values()),
    )


def _optional(value: str | None, where: str) -> str | None:
    return None if value is None else check_name(value, where)


def _extension(item: Any, where: str) -> Extension:
    if isinstance(item, str):
        return Extension(check_name(item, where))
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise AccessError(f"{where}: an extension is a name, or a name and a schema.")
    unknown = sorted(set(item) - {"name", "schema"})
    if unknown:
        raise AccessError(f"{where}: an extension has no key {shown(str(unknown[0]))}.")
    return Extension(check_name(item["name"], where), _optional(item.get("schema"), where))


def _privileges(items: list[str], where: str) -> tuple[str, ...]:
    if not items:
        raise AccessError(f"{where}: privileges must not be empty.")
    upper = (item.upper().strip() for item in items)
    return tuple("TEMPORARY" if item == "TEMP" else item for item in upper)


def _grantee(role: str, where: str) -> str:
    return PUBLIC if role == "PUBLIC" else check_name(role, where)


def _grant(item: Mapping[str, Any], number: int) -> GrantRule:
    where = f"Grant {number}"
    if item["function"] is not None:
        if item["functions"] is not None:
            raise AccessError(f"{where}: function and functions exclude each other.")
        item = {**item, "functions": [item["function"]]}
    given = [key for key in KINDS if item[key] is not None]
    if len(given) > 1:
        raise AccessError(f"{where}: {' and '.join(given)} need a grant each.")
    key = given[0] if given else ""
    schema = "" if item["schema"] is None else check_name(item["schema"], where)
    kind, names = ("schema" if schema else "database"), None
    if key:
        kind, names = KINDS[key], _names(item[key], key, where)
    _check_place(item, key, names, where)
    columns = tuple(check_name(column, where) for column in item["columns"] or ())
    if columns and (kind != "table" or names is None):
        raise AccessError(f"{where}: columns need tables that are named.")
    return GrantRule(
        where=where,
        role=_grantee(item["role"], where),
        database="" if key in ON_SERVER else check_name(item["database"], where),
        kind="column" if columns else kind,
        privileges=_privileges(item["privileges"], where),
        schema=schema,
        names=names,
        columns=columns,
        grant_option=item["grant_option"],
    )


def _check_place(
    item: Mapping[str, Any], key: str, names: tuple[str, ...] | None, where: str
) -> None:
    """Raise AccessError when database and schema do not go with what the grant is on."""
    if key in ON_SERVER:
        if item["database"] is not None or item["schema"] is not None:
            raise AccessError(
                f"{where}: {key} belong to the whole server, so leave out database and schema."
            )
        return
    if item["database"] is None:
        raise AccessError(f"{where}: a database is needed.")
    if key in IN_DATABASE and item["schema"] is not None:
        raise AccessError(f"{where}: {key} are in no schema, so leave out schema.")
    by_signature = key == "functions" and names is not None
    if by_signature and item["schema"] is not None:
        raise AccessError(f"{where}: functions are named with their schema, so leave out schema.")
    if key in IN_SCHEMA and not by_signature and item["schema"] is None:
        raise AccessError(f"{where}: {key} needs a schema.")


def _names(value: Any, key: str, where: str) -> tuple[str, ...] | None:
    if value == "all" and key in ALL_OF:
        return None
    listed = value if isinstance(value, list) else []
    if key == "large_objects":
        listed = [str(number) if type(number) is int else number for number in listed]
    if not listed or not all(isinstance(name, str) for name in listed):
        either = '"all" or ' if key in ALL_OF else ""
        raise AccessError(f"{where}: {key} must be {either}a list of names.")
    return tuple(_name(name, key, where) for name in listed)


def _name(text: str, key: str, where: str) -> str:
    if key == "functions":
        if "\0" in text or not text.rstrip().endswith(")"):
            raise AccessError(
                f"{where}: {shown(text)} is not a full signature such as"
                " pg_catalog.pg_switch_wal()."
            )
        return text
    if key == "parameters":
        if not SETTING.fullmatch(text):
            raise AccessError(f"{where}: {shown(text)} is not the name of a setting.")
        return text.lower()  # as the server keeps them
    if key == "large_objects":
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
            raise AccessError(f"{where}: {shown(text)} is not the number of a large object.")
        return text
    return check_name(text, where)


def _default(item: Mapping[str, Any], number: int) -> DefaultRule:
    where = f"Default privilege {number}"
    schema = "" if item["schema"] is None else check_name(item["schema"], where)
    if schema and item["objects"] in ("schemas", "large_objects"):
        kind = item["objects"].replace("_", " ")
        raise AccessError(f"{where}: {kind} are not in a schema, so leave out schema.")
    return DefaultRule(
        where=where,
        role=_grantee(item["role"], where),
        database=check_name(item["database"], where),
        owner=check_name(item["owner"], where),
        objects=item["objects"],
        privileges=_privileges(item["privileges"], where),
        schema=schema,
        grant_option=item["grant_option"],
    )
