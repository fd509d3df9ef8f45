"""Whether the hidden replica is still as the role declared it.

Its primary feeds it. One that was taken over may have tried to give it orders, and what it made of
the data since is not to be trusted: a backup of such a replica does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dbops.engines.redis import client
from dbops.engines.redis.client import Connection, by_name, text
from dbops.engines.redis.options import Options
from dbops.errors import VerificationFailed
from dbops.targets import read_secret

BUILT_IN = {"vectorset"}
"""Modules that are part of the server itself, of Redis from 8.0 on."""
HIDDEN = (
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CONFIG",
    "REPLICAOF",
    "MODULE",
    "SHUTDOWN",
    "EVAL",
    "FCALL",
)
"""What a primary could turn the replica by; the role hides more than these."""


def require_as_declared(opts: Options, connection: Connection) -> None:
    """Raise VerificationFailed when anything differs, or when the primary gave refused orders."""
    found = [*differences(opts, connection), *refusals(connection)]
    if found:
        raise VerificationFailed(
            f"The hidden replica is not as declared ({'; '.join(found)}): its primary may have "
            "been taken over, or somebody changed it by hand. Look at the primary; then run "
            f"backup.yml, and restart {opts.replica_service or 'the replica'}, which copies "
            "everything anew."
        )


def differences(opts: Options, connection: Connection) -> list[str]:
    """Return in what settings, accounts and names of commands differ from what the role wrote."""
    return [
        *_open_commands(opts, connection),
        *_settings(opts, connection),
        *_accounts(opts.backup_user, opts.backup_password_file, connection),
        *_modules(connection),
    ]


def refusals(connection: Connection) -> list[str]:
    """Return how many orders of the primary were refused since the replica was started."""
    count = client.discarded(connection.info("stats"))
    return [f"{count} commands of its primary were refused"] if count else []


def _open_commands(opts: Options, connection: Connection) -> Iterator[str]:
    """Yield what the replica takes by names that everybody knows."""
    if opts.replica_commands_file is None:
        return
    names, connection.names = connection.names, {}
    try:
        answers = connection.many([(command, *client.TOO_MANY) for command in HIDDEN])
    finally:
        connection.names = names
    for command, answer in zip(HIDDEN, answers, strict=True):
        if "unknown command" not in str(answer):
            yield f"it takes {command} from its primary"


def _settings(opts: Options, connection: Connection) -> Iterator[str]:
    if not opts.replica_settings:
        return
    found = connection.config("*")
    for name, wanted in sorted(opts.replica_settings.items()):
        if found.get(name, "") != wanted:
            yield f"{name} is {found.get(name, 'unset')!r} and not {wanted!r}"


def _accounts(user: str, password_file: Path | None, connection: Connection) -> Iterator[str]:
    if password_file is None:
        return
    wanted = hashlib.sha256(read_secret(password_file).encode()).hexdigest()
    for name in sorted(text(one) for one in connection.ask("ACL", "USERS")):
        about = by_name(connection.ask("ACL", "GETUSER", name))
        flags = {text(one) for one in about["flags"]}
        if name == "default":
            if "on" in flags:
                yield "the account 'default' is on"
        elif name != user:
            yield f"there is an account {name!r}"
        elif "nopass" in flags or [text(one) for one in about["passwords"]] != [wanted]:
            yield f"the account {name!r} has another password"


def _modules(connection: Connection) -> Iterator[str]:
    told = text(connection.ask("INFO", "modules"))
    names = {line.removeprefix("module:name=").split(",")[0] for line in told.splitlines()
             if line.startswith("module:")}  # fmt: skip
    if strange := sorted(names - BUILT_IN):
        yield f"the modules {', '.join(strange)} are loaded"
