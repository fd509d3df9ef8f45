"""Accounts of a server and of its ACL file, brought to exactly what is declared.

A rule is compared by the server itself, as an account that is off and has no password: releases
write the same rights in different words. ACL LOAD is never used, as it drops every client, and
ACL SETUSER only those that lose a channel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .client import Client, RedisError

_COMPARED = "dbops_compare"
_HASH = re.compile(r"#([0-9a-f]{64})")
# What a setting of the server opens to accounts that say nothing (acl-pubsub-default), and payloads
# that nobody checks.
_CLOSED = ("sanitize-payload", "resetchannels")
_LOOSE = {"nopass", "skip-sanitize-payload"}
_RIGHTS = ("commands", "keys", "channels", "selectors")


@dataclass(frozen=True)
class Account:
    """One declared account: whether it may log in, hashes of its passwords, its rights."""

    name: str
    enabled: bool
    hashes: tuple[str, ...]
    rules: tuple[str, ...]

    def line(self) -> str:
        """Return the account as its line of the ACL file."""
        state = "on" if self.enabled else "off"
        words = [
            "user",
            self.name,
            state,
            *_CLOSED,
            *(f"#{one}" for one in self.hashes),
            *self.rules,
        ]
        return " ".join(words)


_OFF = Account("default", False, (), ("~*", "&*", "+@all"))


@dataclass
class Difference:
    """What accounts differ in, as lines that vanish and appear."""

    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)


def declared(entries: list[dict[str, Any]]) -> list[Account]:
    """Return the accounts that a module was given, ``default`` off unless it is among them.

    Off, it lets nobody in, whatever its rights are. It has them all because a server reads its
    append-only files as this account and drops every transaction that the account may not run:
    https://github.com/redis/redis/issues/14541, https://github.com/valkey-io/valkey/issues/3983.
    """
    accounts = [
        Account(one["name"], one["enabled"], tuple(sorted(set(one["hashes"]))), tuple(one["rules"]))
        for one in entries
    ]
    if "default" not in {account.name for account in accounts}:
        accounts.insert(0, _OFF)
    return accounts


def file_text(accounts: list[Account]) -> str:
    """Return the whole ACL file. It is never empty: an empty one lets everybody in."""
    return "".join(f"{account.line()}\n" for account in accounts)


def masked(line: str) -> str:
    """Return a line with each hash cut to what tells two of them apart."""
    return _HASH.sub(lambda found: f"#{found.group(1)[:8]}…", line)


def with_former(account: Account, client: Client) -> Account:
    """Return ``account`` with the passwords that it has on the server now, too."""
    now = _account(client, account.name)
    former = set(now["passwords"]) if now else set()
    hashes = tuple(sorted(former | set(account.hashes)))
    return Account(account.name, account.enabled, hashes, account.rules)


def converge(client: Client, accounts: list[Account], check_mode: bool) -> Difference:
    """Make the server's accounts those declared and no others; return what differed."""
    difference = Difference()
    for account in accounts:
        now = _account(client, account.name)
        wanted = _rights_of(client, account)
        if now is not None and _same(now, account, wanted):
            continue
        _note(difference, account.name, now, account, wanted)
        if not check_mode:
            _set(client, account)
    known = {account.name for account in accounts}
    for name in sorted(set(client.call("ACL", "USERS")) - known):
        difference.before.append(_described(name, _account(client, name) or {}))
        difference.actions.append(f"remove the account {name}")
        if not check_mode:
            client.call("ACL", "DELUSER", name)
    return difference


def _set(client: Client, account: Account) -> None:
    words = ["on" if account.enabled else "off", *(f"#{one}" for one in account.hashes)]
    client.call("ACL", "SETUSER", account.name, "reset", *_CLOSED, *words, *account.rules)


def _account(client: Client, name: str) -> dict[str, Any] | None:
    found = client.call("ACL", "GETUSER", name)
    return None if found is None else dict(zip(found[::2], found[1::2], strict=True))


def _rights_of(client: Client, account: Account) -> dict[str, Any]:
    """Return the declared rights as this server writes them."""
    try:
        client.call("ACL", "SETUSER", _COMPARED, "reset", *_CLOSED, *account.rules)
        found = _account(client, _COMPARED) or {}
    except RedisError as error:
        raise RedisError(f"the account {account.name} cannot be as declared: {error}") from None
    finally:
        client.ask("ACL", "DELUSER", _COMPARED)
    return {name: found.get(name) for name in _RIGHTS}


def _same(now: dict[str, Any], account: Account, wanted: dict[str, Any]) -> bool:
    return (
        ("on" in now["flags"]) == account.enabled
        and not _LOOSE & set(now["flags"])
        and set(now["passwords"]) == set(account.hashes)
        and {name: now.get(name) for name in _RIGHTS} == wanted
    )


def _note(
    difference: Difference,
    name: str,
    now: dict[str, Any] | None,
    account: Account,
    wanted: dict[str, Any],
) -> None:
    if now is not None:
        difference.before.append(_described(name, now))
    flags = ["on" if account.enabled else "off"]
    target = {"flags": flags, "passwords": list(account.hashes), **wanted}
    difference.after.append(_described(name, target))
    difference.actions.append(f"{'change' if now else 'make'} the account {name}")


def _described(name: str, account: dict[str, Any]) -> str:
    flags = [flag for flag in account.get("flags", []) if flag in {"on", "off", *_LOOSE}]
    hashes = [f"#{one}" for one in sorted(account.get("passwords", []))]
    rights = [str(account.get(part) or "") for part in ("keys", "channels", "commands")]
    rights += [str(one) for one in account.get("selectors") or []]
    return masked(" ".join(["user", name, *flags, *hashes, *(right for right in rights if right)]))
