"""The same for MySQL, whose tables are others. Nothing is changed here.

A role is an account there: one of host ``%`` that is locked, has no password and never had one.
"""

from __future__ import annotations

from typing import Any

from .catalog import Reader, UserNow
from .declaration import Right
from .dialect import MYSQL, Dialect
from .names import AccessError, Grantee, required

_REQUIRED = {"": "NONE", "ANY": "SSL", "X509": "X509"}
_NO_PRIVILEGE = ("GRANT OPTION", "PROXY", "USAGE")
_ACCOUNTS = (
    "SELECT u.User, u.Host, u.plugin, HEX(u.authentication_string), u.ssl_type, u.max_questions,"
    " u.max_updates, u.max_connections, u.max_user_connections, u.account_locked,"
    " u.password_expired, (SELECT GROUP_CONCAT(d.DEFAULT_ROLE_USER ORDER BY 1) FROM"
    " mysql.default_roles d WHERE d.USER = u.User AND d.HOST = u.Host),"
    " CONVERT(u.x509_subject USING utf8mb4),"
    " LENGTH(u.x509_issuer) + LENGTH(u.ssl_cipher),"
    " JSON_CONTAINS_PATH(u.User_attributes, 'one', '$.additional_password') FROM mysql.user u"
)
_MEMBERSHIPS = "SELECT TO_USER, TO_HOST, FROM_USER, WITH_ADMIN_OPTION FROM mysql.role_edges"


class MysqlReader(Reader):
    """Reads through one connection, in MySQL's tables."""

    dialect: Dialect = MYSQL

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        if self.rows("SELECT @@GLOBAL.partial_revokes")[0][0]:
            raise AccessError(
                "The server has partial_revokes switched on, under which a grant on everything is"
                " no grant on everything: switch it off."
            )
        rows = self.rows(_ACCOUNTS)
        self._roles = {row[0] for row in rows if _is_role(row)}

    def grantee(self, user: str, host: str) -> Grantee:
        """Return who a row is about: a role has no host elsewhere."""
        return Grantee(user) if host == "%" and user in self._roles else Grantee(user, host)

    def _known(self) -> list[str]:
        found = {str(row[0]).upper() for row in self.rows("SHOW PRIVILEGES")}
        return sorted(found.difference(_NO_PRIVILEGE))

    def _accounts(self) -> tuple[list[UserNow], list[str]]:
        rows = self.rows(_ACCOUNTS)
        self._roles = {row[0] for row in rows if _is_role(row)}
        return [as_stored(row) for row in rows if not _is_role(row)], sorted(self._roles)

    def _memberships(self) -> list[tuple[Grantee, str, bool]]:
        rows = self.rows(_MEMBERSHIPS)
        return [(self.grantee(row[0], row[1]), row[2], row[3] == "Y") for row in rows]

    def _globals_of_roles(self) -> list[Right]:
        return []  # a role is an account, and listed among them


def _is_role(row: tuple[Any, ...]) -> bool:
    host, secret, locked, expired = row[1], row[3], row[9], row[10]
    return bool((host, secret, locked, expired) == ("%", "", "Y", "Y"))


def as_stored(row: tuple[Any, ...]) -> UserNow:
    """Return the account that a row of mysql.user describes."""
    user, host, plugin, secret, ssl, *limits, locked, _, default, subject, more, second = row
    names = ("queries_per_hour", "updates_per_hour", "connections_per_hour", "user_connections")
    return UserNow(
        grantee=Grantee(user, host),
        plugin=plugin,
        authentication=secret,
        require=_REQUIRED.get(ssl) or (required(subject) if subject and not more else "SPECIFIED"),
        limits={f"max_{name}": int(number) for name, number in zip(names, limits, strict=True)},
        locked=locked == "Y",
        default_role=str(default or ""),
        alternatives=False,
        second_password=bool(second),
    )
