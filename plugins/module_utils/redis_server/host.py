"""What the modules of the redis role share: logging in, the ACL file, and the report."""

from __future__ import annotations

import grp
import os
import stat
import tempfile
from typing import Any

from . import accounts
from .client import Client, RedisError, login

ACCOUNT = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool", "default": True},
    "hashes": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "rules": {"type": "list", "elements": "str", "default": []},
}
LOGIN: dict[str, Any] = {
    "type": "dict",
    "options": {
        "socket": {"type": "path", "required": True},
        "user": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "password_file": {"type": "path", "default": "", "no_log": False},
        "commands_file": {"type": "path", "default": ""},
    },
}
COMMON: dict[str, Any] = {
    "login": {**LOGIN, "required": True},
    "accounts": {"type": "list", "elements": "dict", "options": ACCOUNT},
    "keep_passwords": {"type": "bool", "default": False, "no_log": False},
    "acl_file": {"type": "path", "required": True},
    "acl_group": {"type": "str", "default": "root"},
}


class Report:
    """What the call has done so far, or would do in check mode."""

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.pending_restart: list[str] = []
        self.diff: list[dict[str, str]] = []

    def note(self, header: str, before: list[str], after: list[str], actions: list[str]) -> None:
        """Add the lines that vanish and appear under ``header``."""
        self.actions += actions
        if actions:
            self.diff.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": "".join(f"{line}\n" for line in before),
                    "after": "".join(f"{line}\n" for line in after),
                }
            )


def connect(how: dict[str, Any]) -> Client | None:
    """Return a logged-in connection, or None when no server listens."""
    try:
        Client(how["socket"]).close()
    except RedisError:
        return None  # no socket, or the one of a server that died
    return login(how)


def content(path: str) -> str:
    """Return what a file holds, nothing when there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def closed(path: str) -> bool:
    """Tell whether a file is root's and only one group may read it, too."""
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False
    return stat.S_IMODE(now.st_mode) == 0o640 and now.st_uid == 0


def write(path: str, group: str, text: str) -> None:
    """Replace a file by ``text``, which root owns and ``group`` may read; KeyError without it."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".dbops-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchown(stream.fileno(), 0, grp.getgrnam(group).gr_gid)
        os.fchmod(stream.fileno(), 0o640)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)


def _write_acl(parameters: dict[str, Any], text: str, report: Report, check_mode: bool) -> None:
    """Bring the ACL file to ``text``."""
    path = parameters["acl_file"]
    before = content(path)
    if before == text and closed(path):
        return
    lines = [[accounts.masked(line) for line in one.splitlines()] for one in (before, text)]
    report.note(path, lines[0], lines[1], [f"write {path}"])
    if not check_mode:
        write(path, parameters["acl_group"], text)


def converge_accounts(
    client: Client | None, parameters: dict[str, Any], report: Report, check_mode: bool
) -> None:
    """Bring the ACL file and, when the server runs, its accounts to what is declared."""
    if parameters["accounts"] is None:
        return
    wanted = accounts.declared(parameters["accounts"])
    if client and parameters["keep_passwords"]:
        wanted = [accounts.with_former(account, client) for account in wanted]
    _write_acl(parameters, accounts.file_text(wanted), report, check_mode)
    if client:
        found = accounts.converge(client, wanted, check_mode)
        report.note("accounts of the server", found.before, found.after, found.actions)
