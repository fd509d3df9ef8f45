"""What there is now, read from the server's own tables. Nothing is changed here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .declaration import GRANT_OPTION, LIMITS, SPELLINGS, Levels, Right, Target
from .names import PUBLIC, Grantee

# Columns of mysql.db whose names are not the privilege's own.
COLUMNS = {
    "CREATE TMP TABLE": "CREATE TEMPORARY TABLES",
    "GRANT": GRANT_OPTION,
}
_STORED_LIMITS = {
    "max_queries_per_hour": "max_questions",
    "max_updates_per_hour": "max_updates",
    "max_connections_per_hour": "max_connections",
    "max_user_connections": "max_user_connections",
}
_REQUIRED = {0: "NONE", 1: "SSL", 2: "X509"}


@dataclass(frozen=True)
class UserNow:
    """An account as it is."""

    grantee: Grantee
    plugin: str
    authentication: str
    require: str
    limits: Mapping[str, int]
    locked: bool
    default_role: str
    alternatives: bool


@dataclass(frozen=True)
class Now:
    """All of it. ``memberships`` are (member, role)."""

    users: Mapping[Grantee, UserNow]
    roles: frozenset[str]
    memberships: frozenset[tuple[Grantee, str]]
    databases: Mapping[str, tuple[str, str]]
    rights: frozenset[Right]
    test_is_empty: bool


class Reader:
    """Reads through one connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of ``query``."""
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def levels(self) -> Levels:
        """Return the privileges that the server knows on each level, in its own spelling."""
        everything = self.rows(
            "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES"
            " WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')"
        )
        database = [privilege for _, privilege in self._database_columns()]
        return {
            "global": sorted(_spelt(row[0]) for row in everything),
            "database": sorted(set(database) - {GRANT_OPTION}),
            "table": self._members("tables_priv", "Table_priv"),
            "column": self._members("columns_priv", "Column_priv"),
            "routine": self._members("procs_priv", "Proc_priv"),
        }

    def everything(self) -> Now:
        """Return all that the server has."""
        stored = [(row[0], row[1], json.loads(row[2])) for row in self.rows(_ACCOUNTS)]
        users = [_user(Grantee(u, h), p) for h, u, p in stored if not p.get("is_role")]
        databases = {row[0]: (row[1], row[2]) for row in self.rows(_DATABASES)}
        tables = self.rows("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'test'")
        return Now(
            users={user.grantee: user for user in users},
            roles=frozenset(u for _, u, p in stored if p.get("is_role") and u != PUBLIC),
            memberships=frozenset(
                (Grantee(row[1], row[0]), row[2]) for row in self.rows(_MEMBERSHIPS)
            ),
            databases=databases,
            rights=frozenset(
                self._globals() + self._databases() + self._tables() + self._routines()
            ),
            test_is_empty="test" in databases and not tables,
        )

    def _members(self, table: str, column: str) -> list[str]:
        kind = self.rows(f"SHOW COLUMNS FROM mysql.{table} LIKE '{column}'")[0][1]
        found = [_spelt(name) for name in re.findall(r"'([^']+)'", kind)]
        return sorted(set(found) - {GRANT_OPTION})

    def _database_columns(self) -> list[tuple[str, str]]:
        names = [row[0] for row in self.rows("SHOW COLUMNS FROM mysql.db LIKE '%\\_priv'")]
        return [(name, _spelt(name.removesuffix("_priv").replace("_", " "))) for name in names]

    def _globals(self) -> list[Right]:
        found = []
        for holder, privilege, grantable in self.rows(_GLOBALS):
            grantee = _parse(holder)
            if privilege != "USAGE":
                found.append(Right(grantee, Target("global"), _spelt(privilege)))
            if grantable == "YES":
                found.append(Right(grantee, Target("global"), GRANT_OPTION))
        return found

    def _databases(self) -> list[Right]:
        columns = self._database_columns()
        names = ", ".join(f"`{name}`" for name, _ in columns)
        found = []
        query = f"SELECT Host, User, Db, {names} FROM mysql.db"  # noqa: S608 # the server's own names
        for host, user, database, *flags in self.rows(query):
            for (_, privilege), flag in zip(columns, flags, strict=True):
                if flag == "Y":
                    found.append(
                        Right(Grantee(user, host), Target("database", database), privilege)
                    )
        return found

    def _tables(self) -> list[Right]:
        found = []
        for host, user, database, table, held in self.rows(_TABLES):
            target = Target("table", database, table)
            found += [Right(Grantee(user, host), target, _spelt(name)) for name in _set(held)]
        for host, user, database, table, column, held in self.rows(_COLUMNS):
            target = Target("column", database, table, column)
            found += [Right(Grantee(user, host), target, _spelt(name)) for name in _set(held)]
        return found

    def _routines(self) -> list[Right]:
        found = []
        for host, user, database, name, kind, held in self.rows(_ROUTINES):
            target = Target("routine", database, name, kind)
            found += [Right(Grantee(user, host), target, _spelt(held_)) for held_ in _set(held)]
        return found


_ACCOUNTS = "SELECT Host, User, Priv FROM mysql.global_priv"
_MEMBERSHIPS = (
    "SELECT Host, User, Role FROM mysql.roles_mapping WHERE (Host, User) <> ('localhost', 'root')"
)
_DATABASES = (
    "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME"
    " FROM information_schema.SCHEMATA"
)
_GLOBALS = "SELECT GRANTEE, PRIVILEGE_TYPE, IS_GRANTABLE FROM information_schema.USER_PRIVILEGES"
_TABLES = (
    "SELECT Host, User, Db, Table_name, Table_priv FROM mysql.tables_priv WHERE Table_priv <> ''"
)
_COLUMNS = "SELECT Host, User, Db, Table_name, Column_name, Column_priv FROM mysql.columns_priv"
_ROUTINES = "SELECT Host, User, Db, Routine_name, Routine_type, Proc_priv FROM mysql.procs_priv"


def _set(held: Any) -> list[str]:
    return [name for name in str(held).split(",") if name]


def _spelt(name: str) -> str:
    upper = name.upper()
    return COLUMNS.get(upper) or SPELLINGS.get(upper, upper)


def _parse(holder: str) -> Grantee:
    """Return the grantee that the information schema writes as ``'name'@'host'``."""
    name, _, host = holder[1:-1].rpartition("'@'")
    return Grantee(name, host) if host or "'@'" in holder else Grantee(holder.strip("'"))


def _user(grantee: Grantee, stored: Mapping[str, Any]) -> UserNow:
    plugin, authentication = stored.get("plugin", ""), stored.get("authentication_string", "")
    either = [way for way in stored.get("auth_or", []) if way.get("plugin")]
    if either and authentication == "invalid":
        plugin, authentication = either[0]["plugin"], either[0].get("authentication_string", "")
    return UserNow(
        grantee=grantee,
        plugin=plugin,
        authentication=authentication,
        require=_REQUIRED.get(stored.get("ssl_type", 0), "SPECIFIED"),
        limits={name: int(stored.get(_STORED_LIMITS[name], 0)) for name in LIMITS},
        locked=bool(stored.get("account_locked", False)),
        default_role=stored.get("default_role", ""),
        alternatives=bool(either),
    )
