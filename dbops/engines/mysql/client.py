"""Connections: over the local socket on a member, over verified TLS elsewhere.

On a member an account is known by its name at the operating system, so there is no password there;
the repository host has option files. What is *not* here: what is asked of the server.
"""

from __future__ import annotations

import configparser
import re
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pymysql.connections

from dbops.accounts import acting_as
from dbops.engines.mysql.options import Options
from dbops.errors import ConfigError, Unreachable
from dbops.runner import register_secret

Connection = pymysql.connections.Connection
Row = tuple[Any, ...]
CONNECT_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Credentials:
    """What an option file says under ``[client]``."""

    user: str
    password: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def local(options: Options, account: str = "root", *, timeout_seconds: float = 30) -> Connection:
    """Return a connection to the member on this host as ``account``, here and in the server.

    ``timeout_seconds`` bounds each answer, 0 for no limit. Raises Unreachable in one sentence.
    """
    return over(options.socket, account, timeout_seconds)


def over(socket: Path, account: str = "root", timeout_seconds: float = 30) -> Connection:
    """Return a connection over ``socket``, as :func:`local`."""
    where = {"unix_socket": str(socket), "user": account, "password": ""}
    with acting_as(account):
        return _open(where, "the local socket", timeout_seconds)


def remote(options: Options, file: Path, member: str, *, timeout_seconds: float = 30) -> Connection:
    """Return a connection to ``member`` over TLS, its certificate and name verified."""
    address = options.hosts.get(member)
    if address is None:
        known = ", ".join(sorted(options.hosts)) or "none"
        raise ConfigError(f"No member {member!r} in the target's hosts (known: {known}).")
    return at(address, options.port, file, member, options.ca_file, timeout_seconds)


def at(
    address: str, port: int, file: Path, name: str, ca_file: Path, timeout_seconds: float = 30
) -> Connection:
    """Return a connection to the server at ``address``, called ``name`` in messages."""
    who = credentials(file)
    parameters = {
        "host": address,
        "port": port,
        "user": who.user,
        "password": who.password.encode(),  # pymysql takes text for Latin-1
        "ssl": _context(who, ca_file),
    }
    return _open(parameters, name, timeout_seconds)


def credentials(file: Path) -> Credentials:
    """Read an option file; refuse one that others may touch. Its password is masked from now on."""
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Option file {file} cannot be read: {error.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"Option file {file} has mode {stat.S_IMODE(mode):04o}, open to others: chmod 0600 it."
        )
    parser = configparser.RawConfigParser(allow_no_value=True, strict=False)
    try:
        parser.read_string(text)
        found = {name.replace("_", "-"): value or "" for name, value in parser.items("client")}
    except configparser.Error:
        raise ConfigError(f"Option file {file} has no readable [client] group.") from None
    plain = {name: _unquote(value) for name, value in found.items()}
    if not plain.get("user") or not plain.get("password"):
        raise ConfigError(f"Option file {file} names no user or no password: run secure again.")
    return Credentials(
        user=plain["user"],
        password=register_secret(plain["password"]),
        ca=_path(plain, "ssl-ca"),
        certificate=_path(plain, "ssl-cert"),
        key=_path(plain, "ssl-key"),
    )


def _path(found: Mapping[str, str], name: str) -> Path | None:
    return Path(found[name]) if found.get(name) else None


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return re.sub(r"\\(.)", r"\1", value)


def _context(who: Credentials, ca_file: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(who.ca or ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 would refuse the authorities that the server itself and its tools accept.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if who.certificate is not None:
            context.load_cert_chain(who.certificate, who.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"The TLS files of this host cannot be used: {error}.") from None
    return context


def _open(parameters: dict[str, Any], where: str, timeout_seconds: float) -> Connection:
    limit = timeout_seconds or None
    try:
        return Connection(
            **parameters,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=limit,
            write_timeout=limit,
            program_name="dbops",
            local_infile=False,
        )
    except (pymysql.Error, OSError, ssl.SSLError) as error:
        raise Unreachable(
            f"The server on {where} does not answer as {parameters['user']!r}: {reason(error)}."
        ) from None


def rows(connection: Connection, query: str, values: Sequence[object] = ()) -> list[Row]:
    """Run one statement and return all its rows. ``values`` are quoted by the driver."""
    with connection.cursor() as cursor:
        cursor.execute(query, tuple(values) or None)
        return list(cursor.fetchall())


def value(connection: Connection, query: str, values: Sequence[object] = ()) -> Any:
    """Return the first column of the first row, None when there is no row."""
    found = rows(connection, query, values)
    return found[0][0] if found else None


def records(connection: Connection, query: str) -> list[dict[str, Any]]:
    """Run a ``SHOW`` statement and return its rows by column name."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def variables(connection: Connection) -> dict[str, str]:
    """Return every global variable by its lower-case name."""
    return {str(n).lower(): str(v) for n, v in rows(connection, "SHOW GLOBAL VARIABLES")}


def status(connection: Connection) -> dict[str, str]:
    """Return every global status value by its name as the server writes it."""
    return {str(n): str(v) for n, v in rows(connection, "SHOW GLOBAL STATUS")}


def sql(template: str, **parts: str) -> str:
    """Return a statement with names, already quoted by :func:`name`, put in their places."""
    return template.format(**parts)


def name(identifier: str) -> str:
    """Quote a name for use in a statement, whatever characters it has."""
    return "`" + identifier.replace("`", "``") + "`"


def reason(error: BaseException) -> str:
    """Return what the server or the driver said, on one line, without its full stop."""
    words = [str(part) for part in error.args if isinstance(part, str) and part]
    text = words[-1] if words else str(error) or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    # The driver wraps what the operating system said and repeats the address.
    inner = re.search(r"\((?:\[Errno -?\d+\] )?(.+)\)$", text)
    if text.startswith("Can't connect to MySQL server") and inner:
        text = inner[1]
    return text.rstrip(".")


def explain(error: Exception) -> str | None:
    """Return what the driver's own exceptions mean, None for any other."""
    return reason(error) if isinstance(error, pymysql.Error) else None
