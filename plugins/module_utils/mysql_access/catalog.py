"""What there is now, read from the server's own tables. Nothing is changed here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .declaration import GRANT_OPTION, LIMITS, Levels, Right, Target
from .dialect import MARIADB, Dialect
from .names import PUBLIC, Grantee, required

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
    second_password: bool = False


@dataclass(frozen=True)
class Now:
    """All of it. ``memberships`` are (member, role); ``admins`` those that may pass the role on."""

    users: Mapping[Grantee, UserNow]
    roles: frozenset[str]
    memberships: frozenset[tuple[Grantee, str]]
    databases: Mapping[str, tuple[str, str]]
    rights: frozenset[Right]
    test_is_empty: bool
    admins: frozenset[tuple[Grantee, str]] = frozenset()


class Reader:
    """Reads through one connection, in MariaDB's tables."""

    dialect: Dialect = MARIADB

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of ``query``."""
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def grantee(self, user: str, host: str) -> Grantee:
        """Return who a row is about."""
        return Grantee(user, host)

    def levels(self) -> Levels:
        """Return the privileges that the server knows on each level, in its own spelling."""
        database = [privilege for _, privilege in self._database_columns()]
        return {
            "global": self._known(),
            "database": sorted(set(database) - {GRANT_OPTION}),
            "table": self._members("tables_priv", "Table_priv"),
            "column": self._members("columns_priv", "Column_priv"),
            "routine": self._members("procs_priv", "Proc_priv"),
        }

    def everything(self) -> Now:
        """Return all that the server has."""
        users, roles = self._accounts()
        databases = {row[0]: (row[1], row[2]) for row in self.rows(_DATABASES)}
        tables = self.rows("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'test'")
        memberships = self._memberships()
        return Now(
            users={user.grantee: user for user in users},
            roles=frozenset(roles),
            memberships=frozenset((member, role) for member, role, _ in memberships),
            admins=frozenset((member, role) for member, role, admin in memberships if admin),
            databases=databases,
            rights=frozenset(
                self._globals()
                + self._globals_of_roles()
                + self._databases()
                + self._tables()
                + self._routines()
                + self._proxies()
            ),
            test_is_empty="test" in databases and not tables,
        )

    def _known(self) -> list[str]:
        """Return what ALL stands for on everything."""
        rows = self.rows(_OF_ROOT)
        return sorted(self.spelt(row[0]) for row in rows)

    def _accounts(self) -> tuple[list[UserNow], list[str]]:
        stored = [(row[0], row[1], json.loads(row[2])) for row in self.rows(_ACCOUNTS)]
        users = [as_stored(Grantee(u, h), p) for h, u, p in stored if not p.get("is_role")]
        return users, [u for _, u, p in stored if p.get("is_role") and u != PUBLIC]

    def _memberships(self) -> list[tuple[Grantee, str, bool]]:
        rows = self.rows(_MEMBERSHIPS)
        return [(self.grantee(row[1], row[0]), row[2], row[3] == "Y") for row in rows]

    def spelt(self, name: str) -> str:
        """Return a privilege as everything here spells it."""
        upper = name.upper()
        return COLUMNS.get(upper) or self.dialect.spellings.get(upper, upper)

    def _members(self, table: str, column: str) -> list[str]:
        kind = self.rows(f"SHOW COLUMNS FROM mysql.{table} LIKE '{column}'")[0][1]
        found = [self.spelt(name) for name in re.findall(r"'([^']+)'", kind)]
        return sorted(set(found) - {GRANT_OPTION})

    def _database_columns(self) -> list[tuple[str, str]]:
        names = [row[0] for row in self.rows("SHOW COLUMNS FROM mysql.db LIKE '%\\_priv'")]
        return [(name, self.spelt(name.removesuffix("_priv").replace("_", " "))) for name in names]

    def _globals(self) -> list[Right]:
        found = []
        for holder, privilege, grantable in self.rows(_GLOBALS):
            grantee = self.grantee(*_parse(holder))
            if privilege != "USAGE":
                found.append(Right(grantee, Target("global"), self.spelt(privilege)))
            if grantable == "YES":
                found.append(Right(grantee, Target("global"), GRANT_OPTION))
        return found

    def _globals_of_roles(self) -> list[Right]:
        """Return what roles and PUBLIC hold on everything: no table but a grant's text tells it."""
        found = []
        for (name,) in self.rows(_ROLES):
            grantee = Grantee(name)
            for (line,) in self.rows(f"SHOW GRANTS FOR {grantee.sql()}"):
                match = _GLOBAL_GRANT.fullmatch(line)
                if match is None or match["grantee"] != grantee.sql():
                    continue  # on something else, or of a role that this one has
                spelt = {self.spelt(text) for text in match["privileges"].split(", ")}
                if spelt & {"ALL", "ALL PRIVILEGES"}:
                    spelt = set(self._known())
                spelt |= {GRANT_OPTION} if match["option"] else set()
                found += [Right(grantee, Target("global"), text) for text in spelt - {"USAGE"}]
        return found

    def _proxies(self) -> list[Right]:
        """Return who may act as whom. No REVOKE reaches the installation's rows without a host."""
        return [
            Right(self.grantee(user, host), Target("proxy", proxied_host, proxied), "PROXY")
            for user, host, proxied, proxied_host in self.rows(_PROXIES)
        ]

    def _databases(self) -> list[Right]:
        columns = self._database_columns()
        names = ", ".join(f"`{name}`" for name, _ in columns)
        found = []
        query = f"SELECT Host, User, Db, {names} FROM mysql.db"  # noqa: S608 # the server's own names
        for host, user, database, *flags in self.rows(query):
            for (_, privilege), flag in zip(columns, flags, strict=True):
                if flag == "Y":
                    found.append(
                        Right(self.grantee(user, host), Target("database", database), privilege)
                    )
        return found

    def _tables(self) -> list[Right]:
        found = []
        for host, user, database, table, held in self.rows(_TABLES):
            target = Target("table", database, table)
            found += [
                Right(self.grantee(user, host), target, self.spelt(name)) for name in _set(held)
            ]
        for host, user, database, table, column, held in self.rows(_COLUMNS):
            target = Target("column", database, table, column)
            found += [
                Right(self.grantee(user, host), target, self.spelt(name)) for name in _set(held)
            ]
        return found

    def _routines(self) -> list[Right]:
        found = []
        for host, user, database, name, kind, held in self.rows(_ROUTINES):
            target = Target("routine", database, name, kind)
            found += [
                Right(self.grantee(user, host), target, self.spelt(held_)) for held_ in _set(held)
            ]
        return found


_OF_ROOT = (
    "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES"
    " WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')"
)
_ACCOUNTS = "SELECT Host, User, Priv FROM mysql.global_priv"
_MEMBERSHIPS = (
    "SELECT Host, User, Role, Admin_option FROM mysql.roles_mapping"
    " WHERE (Host, User) <> ('localhost', 'root')"
)
_ROLES = "SELECT User FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.is_role') = 1"
_GLOBAL_GRANT = re.compile(
    r"GRANT (?P<privileges>.+) ON \*\.\* TO (?P<grantee>.+?)(?P<option> WITH GRANT OPTION)?"
)
_PROXIES = (
    "SELECT User, Host, Proxied_user, Proxied_host FROM mysql.proxies_priv WHERE Proxied_host <> ''"
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


def _parse(holder: str) -> tuple[str, str]:
    """Return name and host of what the information schema writes as ``'name'@'host'``."""
    name, _, host = holder[1:-1].rpartition("'@'")
    return (name, host) if host or "'@'" in holder else (holder.strip("'"), "")


def _specified(stored: Mapping[str, Any]) -> str:
    """Return the subject that a certificate must have, unless more than that is asked for."""
    subject = stored.get("x509_subject", "")
    more = stored.get("x509_issuer") or stored.get("ssl_cipher")
    return required(subject) if subject and not more else "SPECIFIED"


def as_stored(grantee: Grantee, stored: Mapping[str, Any]) -> UserNow:
    """Return the account that its stored document describes."""
    plugin, authentication = stored.get("plugin", ""), stored.get("authentication_string", "")
    either = [way for way in stored.get("auth_or", []) if way.get("plugin")]
    if either and authentication == "invalid":
        plugin, authentication = either[0]["plugin"], either[0].get("authentication_string", "")
    return UserNow(
        grantee=grantee,
        plugin=plugin,
        authentication=authentication,
        require=_REQUIRED.get(stored.get("ssl_type", 0)) or _specified(stored),
        limits={name: int(stored.get(_STORED_LIMITS[name], 0)) for name in LIMITS},
        locked=bool(stored.get("account_locked", False)),
        default_role=stored.get("default_role", ""),
        alternatives=bool(either),
    )
