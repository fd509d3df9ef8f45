"""What a control may look at."""

from __future__ import annotations

import json
import pwd
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbops.engines.mysql import client
from dbops.engines.mysql.options import Options
from dbops.targets import Target

Row = tuple[Any, ...]
_GLOBAL_GRANT = re.compile(
    r"GRANT (?P<rights>.+) ON \*\.\* TO (?P<whom>.+?)(?P<option> WITH GRANT OPTION)?"
)
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Account:
    """One account as the server keeps it. ``ways`` are its plugins with their stored secrets."""

    user: str
    host: str
    role: bool
    locked: bool
    ssl: int
    ways: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The account as people write it."""
        return f"{self.user}@{self.host}"

    @property
    def local(self) -> bool:
        """Whether it can only come from this host."""
        return self.host in LOCAL


@dataclass(frozen=True)
class Facts:
    """One member as an auditor sees it: its settings, its SQL, its files.

    ``privileges`` are the global ones of each account and role, ``replica`` is how it follows, if
    it does.
    """

    target: Target
    options: Options
    settings: Mapping[str, str]
    plugins: frozenset[str]
    accounts: tuple[Account, ...]
    privileges: Mapping[str, frozenset[str]]
    replica: Mapping[str, Any] | None
    process: int | None
    rows: Callable[[str], Sequence[Row]]
    proc: Path = field(default=Path("/proc"))
    etc: Path = field(default=Path("/etc"))

    def setting(self, name: str) -> str:
        """Return a server setting, empty when this version has no such one."""
        return self.settings.get(name, "")

    def home(self) -> Path:
        """Return the home of the server's account."""
        return Path(pwd.getpwnam(self.options.os_user).pw_dir)

    def data_dir(self) -> Path:
        """Return the data directory."""
        return self.options.require_path("data_dir")

    def server(self) -> Path:
        """Return the server's place in /proc; OSError when no process works in its directory."""
        if self.process is None:
            raise OSError("no process of the server is to be found")
        return self.proc / str(self.process)


def accounts_of(flavor: str, rows: Callable[[str], Sequence[Row]]) -> tuple[Account, ...]:
    """Return every account and role that ``rows`` finds in the tables of a flavour."""
    query, read = _ACCOUNTS[flavor]
    return tuple(read(*row) for row in rows(query))


def granted(role: Account, rows: Callable[[str], Sequence[Row]]) -> set[str]:
    """Return what a role, or PUBLIC, holds on everything: MariaDB lists only accounts elsewhere."""
    held: set[str] = set()
    quoted = "PUBLIC" if (role.user, role.host) == ("PUBLIC", "") else client.name(role.user)
    whom = quoted if not role.host else f"{quoted}@{client.name(role.host)}"
    for (line,) in rows(f"SHOW GRANTS FOR {whom}"):
        match = _GLOBAL_GRANT.fullmatch(str(line))
        if match and match["whom"] == whom:
            held |= set(match["rights"].split(", ")) - {"USAGE"}
            held |= {"GRANT OPTION"} if match["option"] else set()
    return held


def account(host: str, user: str, text: str) -> Account:
    """Read an account out of the server's own JSON."""
    known = json.loads(text)
    ways = []
    for one in known.get("auth_or") or [{}]:
        plugin = str(one.get("plugin", known.get("plugin", "mysql_native_password")) or "")
        secret = str(one.get("authentication_string", known.get("authentication_string", "")))
        ways.append((plugin or "mysql_native_password", secret))
    return Account(
        user=str(user),
        host=str(host),
        role=bool(known.get("is_role")),
        locked=bool(known.get("account_locked")),
        ssl=int(known.get("ssl_type", 0)),
        ways=tuple(ways),
    )


def columns_account(
    host: str, user: str, plugin: str, secret: str, ssl: str, locked: str, expired: str
) -> Account:
    """Read an account out of MySQL's columns; a role is one that never could log in."""
    return Account(
        user=str(user),
        host=str(host),
        role=(locked, expired, secret) == ("Y", "Y", ""),
        locked=locked == "Y",
        ssl=int(bool(ssl)),
        ways=((str(plugin), str(secret)),),
    )


_ACCOUNTS: dict[str, tuple[str, Callable[..., Account]]] = {
    "mariadb": ("SELECT Host, User, Priv FROM mysql.global_priv ORDER BY User, Host", account),
    "mysql": (
        "SELECT Host, User, plugin, HEX(authentication_string), ssl_type, account_locked, "
        "password_expired FROM mysql.user ORDER BY User, Host",
        columns_account,
    ),
}
