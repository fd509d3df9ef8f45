"""What was declared, checked, with every ALL replaced by the privileges that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dialect import MARIADB, SOCKETS, Dialect
from .digest import weakness
from .names import PUBLIC, AccessError, Grantee, check_name, literally, required

GRANT_OPTION = "GRANT OPTION"
LIMITS = {
    "max_queries_per_hour": "MAX_QUERIES_PER_HOUR",
    "max_updates_per_hour": "MAX_UPDATES_PER_HOUR",
    "max_connections_per_hour": "MAX_CONNECTIONS_PER_HOUR",
    "max_user_connections": "MAX_USER_CONNECTIONS",
}
_SUBJECT = re.compile(r"(?i:SUBJECT) +(/[^'\\\\\x00-\x1f]+)")
ROUTINES = ("PROCEDURE", "FUNCTION", "PACKAGE BODY", "PACKAGE")
REQUIREMENTS = ("NONE", "SSL", "X509")

Levels = Mapping[str, Sequence[str]]


@dataclass(frozen=True, order=True)
class Target:
    """What a privilege is on. ``database`` is a pattern as the server stores it on that level."""

    level: str
    database: str = ""
    object: str = ""
    column: str = ""


@dataclass(frozen=True)
class Right:
    """One privilege of one grantee."""

    grantee: Grantee
    target: Target
    privilege: str


@dataclass(frozen=True)
class User:
    """An account. ``None`` means that it is not declared and left alone."""

    grantee: Grantee
    plugin: str
    authentication: str | None
    require: str = "NONE"
    limits: Mapping[str, int] = field(default_factory=dict)
    locked: bool = False
    roles: tuple[str, ...] = ()
    default_role: str = ""


@dataclass(frozen=True)
class Database:
    """A database."""

    name: str
    charset: str | None = None
    collation: str | None = None


@dataclass(frozen=True)
class Declaration:
    """All of it."""

    exact: bool
    superusers: frozenset[Grantee]
    users: Mapping[Grantee, User]
    roles: Mapping[str, tuple[str, ...]]
    databases: Mapping[str, Database]
    rights: frozenset[Right]
    drop_undeclared: bool = False
    dialect: Dialect = MARIADB


def load(parameters: Mapping[str, Any], levels: Levels, dialect: Dialect = MARIADB) -> Declaration:
    """Return what the module's parameters declare; ``levels`` says what ALL means on each level."""
    users = _unique(
        [_user(entry, dialect) for entry in parameters["users"]], lambda user: user.grantee
    )
    roles = {
        check_name(entry["name"], "A role", 128): tuple(entry.get("member_of") or ())
        for entry in parameters["roles"]
    }
    databases = _unique([_database(entry) for entry in parameters["databases"]], lambda d: d.name)
    declaration = Declaration(
        exact=parameters["exact"],
        superusers=frozenset(_account(name) for name in parameters["superusers"]),
        users=users,
        roles=roles,
        databases=databases,
        rights=frozenset(
            right for entry in parameters["grants"] for right in _rights(entry, levels, dialect)
        ),
        drop_undeclared=parameters["drop_undeclared"],
        dialect=dialect,
    )
    _check(declaration)
    return declaration


def _account(name: str) -> Grantee:
    user, at, host = name.rpartition("@")
    if not at or not user or not host:
        raise AccessError(f"superusers: {name!r} is no account: write it as name@host.")
    return Grantee(user, host)


def _unique(found: list[Any], key: Any) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for entry in found:
        if key(entry) in result:
            raise AccessError(f"{key(entry)} is declared twice.")
        result[key(entry)] = entry
    return result


def _requirement(grantee: Grantee, given: str) -> str:
    """Return what the connection needs, as SQL."""
    if found := _SUBJECT.fullmatch(given):
        return required(found[1])
    if given.upper() not in REQUIREMENTS:
        known = ", ".join(REQUIREMENTS)
        raise AccessError(
            f"Account {grantee}: require must be one of {known} or SUBJECT /CN=name, the whole"
            " subject of a certificate."
        )
    return given.upper()


def _user(entry: Mapping[str, Any], dialect: Dialect) -> User:
    name = check_name(entry["name"], "An account", 128)
    grantee = Grantee(name, check_name(entry["host"], f"Account {name}", 255))
    plugin = entry.get("plugin") or dialect.plugin
    plugin = dialect.socket if plugin in SOCKETS else plugin
    require = _requirement(grantee, entry["require"])
    roles = tuple(entry.get("roles") or ())
    return User(
        grantee=grantee,
        plugin=plugin,
        authentication=_authentication(grantee, plugin, entry.get("password"), dialect),
        require=require,
        limits={key: int(entry.get(key) or 0) for key in LIMITS},
        locked=entry["locked"],
        roles=roles,
        default_role=entry.get("default_role") or (roles[0] if len(roles) == 1 else ""),
    )


def _authentication(
    grantee: Grantee, plugin: str, password: str | None, dialect: Dialect
) -> str | None:
    if plugin in SOCKETS:
        if password is not None:
            raise AccessError(f"Account {grantee}: {plugin} takes no password.")
        return ""
    if plugin not in dialect.plugins:
        known = ", ".join((dialect.socket, *dialect.plugins))
        raise AccessError(f"Account {grantee}: plugin must be one of {known}.")
    if password is None:
        return None
    if not dialect.is_stored(plugin, password) and (wrong := weakness(password, grantee.name)):
        raise AccessError(f"Account {grantee}: its password is too weak: {wrong}.")
    return dialect.keep(plugin, password)


def _database(entry: Mapping[str, Any]) -> Database:
    name = check_name(entry["name"], "A database", 64)
    if name.lower() in ("mysql", "information_schema", "performance_schema", "sys"):
        raise AccessError(f"The database {name} is the server's own.")
    return Database(name, entry.get("charset"), entry.get("collation"))


def _grantee(entry: Mapping[str, Any]) -> Grantee:
    if bool(entry.get("user")) == bool(entry.get("role")):
        raise AccessError("A grant needs either a user or a role.")
    if entry.get("user"):
        return Grantee(entry["user"], entry.get("host") or "%")
    return Grantee(PUBLIC if entry["role"].upper() == PUBLIC else entry["role"])


def _targets(entry: Mapping[str, Any], where: str) -> list[Target]:
    database = entry.get("database")
    tables, columns, routines = (entry.get(k) or [] for k in ("tables", "columns", "routines"))
    if not database:
        if tables or columns or routines:
            raise AccessError(f"{where}: tables, columns and routines need a database.")
        return [Target("global")]
    if columns and len(tables) != 1:
        raise AccessError(f"{where}: columns need exactly one table.")
    if columns:
        return [Target("column", database, tables[0], column) for column in columns]
    if tables:
        return [Target("table", database, table) for table in tables]
    if routines:
        return [_routine(database, routine, where) for routine in routines]
    return [Target("database", literally(database))]


def _routine(database: str, routine: str, where: str) -> Target:
    for kind in ROUTINES:
        if routine.upper().startswith(f"{kind} ") and routine[len(kind) + 1 :]:
            return Target("routine", database, routine[len(kind) + 1 :], kind)
    raise AccessError(f"{where}: write routines as PROCEDURE name or FUNCTION name.")


def _rights(entry: Mapping[str, Any], levels: Levels, dialect: Dialect) -> list[Right]:
    grantee = _grantee(entry)
    where = f"Grant to {grantee}"
    found = []
    for target in _targets(entry, where):
        known = levels[target.level]
        place = f"{where}, on the level {target.level}"
        wanted = _privileges(entry["privileges"], known, place, dialect.spellings)
        if entry.get("grant_option"):
            wanted.add(GRANT_OPTION)
        found += [Right(grantee, target, privilege) for privilege in sorted(wanted)]
    return found


def _privileges(
    given: Sequence[str], known: Sequence[str], where: str, spellings: Mapping[str, str]
) -> set[str]:
    wanted: set[str] = set()
    for text in given:
        spelt = " ".join(text.upper().split())
        privilege = spellings.get(spelt, spelt)
        if privilege in ("ALL", "ALL PRIVILEGES"):
            wanted.update(known)
        elif privilege in known:
            wanted.add(privilege)
        else:
            raise AccessError(f"{where}: {privilege} is no privilege there.")
    return wanted


def _check(wanted: Declaration) -> None:
    for user in wanted.users.values():
        for role in (*user.roles, *([user.default_role] if user.default_role else [])):
            if role not in wanted.roles:
                raise AccessError(f"Account {user.grantee}: the role {role} is not declared.")
        if user.default_role and user.default_role not in user.roles:
            raise AccessError(f"Account {user.grantee}: default_role must be one of its roles.")
    for role, parents in wanted.roles.items():
        for parent in parents:
            if parent not in wanted.roles:
                raise AccessError(f"Role {role}: the role {parent} is not declared.")
    for grantee in {right.grantee for right in wanted.rights}:
        known = grantee.name in wanted.roles if grantee.is_role else grantee in wanted.users
        if not known and grantee.name != PUBLIC:
            kind = "role" if grantee.is_role else "account"
            raise AccessError(f"A grant names the {kind} {grantee}, which is not declared.")
