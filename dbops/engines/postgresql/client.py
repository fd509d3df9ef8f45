"""Connections to PostgreSQL: over the local socket on a member, over verified TLS elsewhere."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from dbops.accounts import acting_as
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, Unreachable

Role = Literal["any", "primary", "standby", "prefer-standby"]
Connection = psycopg.Connection[tuple[Any, ...]]
CONNECT_TIMEOUT_SECONDS = 5
ENCODING = "UTF8"
"""What the server sends: from a database of SQL_ASCII the driver would return bytes, not text."""
# An owner of a database or of a role may set these for every session; a connection's own outrank
# those (config-setting.html). No name of ours may mean a user's function.
_PINNED = {
    "search_path": "pg_catalog",
    "role": "none",
    "row_security": "off",
    "default_transaction_read_only": "off",
    "idle_session_timeout": "0",
}


def connect(
    options: Options,
    *,
    role: Role = "any",
    member: str | None = None,
    database: str | None = None,
    user: str | None = None,
    statement_timeout_seconds: float = 30,
    replication: bool = False,
) -> Connection:
    """Return an autocommit connection to the cluster; raise Unreachable in one sentence.

    With a ``passfile`` (the repository's part) it goes by TCP with the server's certificate
    verified, to ``member`` or to the first one in the wanted ``role``. Otherwise it goes over the
    local socket. ``statement_timeout_seconds`` 0 means no limit. ``replication`` opens a
    connection that also takes replication commands.
    """
    parameters: dict[str, Any] = {
        "dbname": database or options.database,
        "target_session_attrs": role,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "dbops",
        "client_encoding": ENCODING,
        "gssencmode": "disable",
    }
    if not replication:
        timeout = int(statement_timeout_seconds * 1000)
        parameters["options"] = _options(statement_timeout=timeout)
    else:
        parameters |= {"replication": "database", "options": _options()}
    if options.passfile is None:
        parameters |= {
            "host": str(options.socket_dir),
            "port": options.port,
            "user": user or options.monitor_user,
        }
        with acting_as(_account(options, parameters["user"])):
            return _open(parameters, "the local server")
    parameters |= _tcp(options, member) | {"user": user or options.backup_user}
    return _open(parameters, member or f"any {role} member".replace("any any", "any"))


def connect_socket(
    directory: Path, port: int, database: str, user: str, os_user: str
) -> Connection:
    """Return a connection to a server on the socket in ``directory``, as account ``os_user``."""
    parameters = {
        "host": str(directory),
        "port": port,
        "dbname": database,
        "user": user,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "dbops",
        "client_encoding": ENCODING,
        "options": _options(statement_timeout=0),
    }
    with acting_as(os_user):
        return _open(parameters, f"the server in {directory}")


def _options(**more: object) -> str:
    return " ".join(f"-c {name}={value}" for name, value in (_PINNED | more).items())


def _tcp(options: Options, member: str | None) -> dict[str, Any]:
    if member is not None and member not in options.hosts:
        known = ", ".join(sorted(options.hosts)) or "none"
        raise ConfigError(f"No member {member!r} in the target's hosts (known: {known}).")
    names = [member] if member is not None else list(options.hosts)
    if not names:
        raise ConfigError("The target's option 'hosts' is empty: render the target again.")
    addresses = [options.hosts[name] for name in names]
    place: dict[str, Any] = {"port": options.port}
    if all(_is_ip(address) for address in addresses):
        place |= {"host": ",".join(names), "hostaddr": ",".join(addresses)}
    else:
        place["host"] = ",".join(addresses)
    return place | {
        "sslmode": "verify-full",
        "sslrootcert": str(options.require("ca_file")),
        "passfile": str(options.require("passfile")),
    }


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _account(options: Options, user: str) -> str:
    agents = (options.monitor_user, options.heartbeat_user)
    return options.agent_user if user in agents else options.os_user


def _open(parameters: dict[str, Any], where: str) -> Connection:
    try:
        connection = psycopg.connect(make_conninfo(**parameters), autocommit=True)
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            # Names there may be any bytes, and Latin-1 makes a character of each.
            connection.execute("SET client_encoding = 'LATIN1'")
        return connection
    except psycopg.Error as error:
        raise Unreachable(
            f"PostgreSQL on {where} does not answer as {parameters['user']!r}: {reason(error)}."
        ) from None


def reason(error: psycopg.Error) -> str:
    """Return what the server said, or the last line of what libpq said, without its full stop."""
    if error.diag.message_primary:
        return error.diag.message_primary.rstrip(".")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = ("Is the server", "Multiple connection", "This probably", "before or while")
    lines = [line for line in lines if not line.startswith(noise)]
    text = lines[-1] if lines else type(error).__name__
    text = re.sub(r"^- host: .*?error: ", "", text)
    return re.sub(r"^(connection failed: |connection is bad: )+", "", text).rstrip(".")


def explain(error: Exception) -> str | None:
    """Return what the driver's own exceptions mean, None for any other."""
    return reason(error) if isinstance(error, psycopg.Error) else None
