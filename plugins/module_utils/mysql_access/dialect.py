"""What differs between MariaDB and MySQL when accounts are looked at and changed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import digest, sha2
from .names import Grantee, text

SOCKETS = ("unix_socket", "auth_socket")


@dataclass(frozen=True)
class Dialect:
    """One of the two servers.

    ``keep`` turns a declared password into what is compared, ``same`` compares that with what is
    stored, and ``identified`` returns the clause that sets it, None being a password nobody knows.
    ``own_hold_little``: its own accounts come without privileges on everything or on a database.
    """

    title: str
    socket: str
    plugin: str
    plugins: tuple[str, ...]
    spellings: Mapping[str, str]
    own: frozenset[Grantee]
    own_hold_little: bool
    session: str
    replica: str
    default_role: str
    no_admin: tuple[str, ...]
    keep: Callable[[str, str], str]
    is_stored: Callable[[str, str], bool]
    same: Callable[[str, str], bool]
    identified: Callable[[str, str | None], str]


def _mariadb_identified(plugin: str, authentication: str | None) -> str:
    way = f" IDENTIFIED VIA {plugin}"
    if plugin in SOCKETS:
        return way
    return f"{way} USING {text(authentication or 'none')}"


def _mysql_identified(plugin: str, authentication: str | None) -> str:
    way = f" IDENTIFIED WITH {plugin}"
    if plugin in SOCKETS:
        return way
    stored = sha2.stored(authentication or secrets.token_urlsafe(32))
    return f"{way} AS 0x{stored.hex().upper()}"


MARIADB = Dialect(
    title="MariaDB",
    socket="unix_socket",
    plugin="ed25519",
    plugins=digest.PLUGINS,
    spellings={
        "REPLICATION CLIENT": "BINLOG MONITOR",
        "REPLICA MONITOR": "SLAVE MONITOR",
        "REPLICATION REPLICA": "REPLICATION SLAVE",
        "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
        "CREATE TEMPORARY TABLE": "CREATE TEMPORARY TABLES",
        "DELETE VERSIONING ROWS": "DELETE HISTORY",
    },
    own=frozenset({Grantee("mariadb.sys", "localhost"), Grantee("PUBLIC")}),
    own_hold_little=True,
    session="SET SESSION lock_wait_timeout = 10, "
    "sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_CREATE_USER'",
    replica="SHOW SLAVE STATUS",
    default_role="SET DEFAULT ROLE {role} FOR {user}",
    no_admin=("REVOKE ADMIN OPTION FOR {role} FROM {user}",),
    keep=digest.digest,
    is_stored=digest.is_digest,
    same=lambda stored, wanted: stored == wanted,
    identified=_mariadb_identified,
)
MYSQL = Dialect(
    title="MySQL",
    socket="auth_socket",
    plugin="caching_sha2_password",
    plugins=("caching_sha2_password",),
    spellings={},
    own=frozenset(
        Grantee(name, "localhost") for name in ("mysql.sys", "mysql.session", "mysql.infoschema")
    ),
    own_hold_little=False,
    session="SET SESSION sql_mode = 'STRICT_ALL_TABLES', lock_wait_timeout = 10",
    replica="SHOW REPLICA STATUS",
    default_role="SET DEFAULT ROLE {role} TO {user}",
    no_admin=("REVOKE {role} FROM {user}", "GRANT {role} TO {user}"),
    keep=lambda plugin, password: password,
    is_stored=lambda plugin, password: sha2.is_stored(password),
    same=sha2.same,
    identified=_mysql_identified,
)


def of(version: str) -> Dialect:
    """Return the dialect of a server that calls its version so."""
    return MARIADB if "mariadb" in version.lower() else MYSQL
