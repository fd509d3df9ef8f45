"""Filters of the redis role: accounts as ACL rules, passwords as hashes.

Hashes are made here, on the controller: a host never gets the password of an account that it
does not use itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

# Rights that no application gets, whatever is declared; one may be named in ``also``.
_NEVER = (
    "-@admin",
    "-@dangerous",
    # These tell of everybody's keys and channels: patterns do not hold for them.
    "-scan",
    "-randomkey",
    "-dbsize",
    "-memory|stats",
    "-pubsub",
    "-client|tracking",
    # There is one pool of functions, and one of scripts, for all applications.
    "-function",
    "-script|flush",
    "-script|kill",
    "-script|debug",
)
_DEFAULT_COMMANDS = ("+@all",)
_DISCOVERY = (
    "+ping",
    "+auth",
    "+hello",
    "+client|setname",
    "+client|id",
    "+role",
    "+subscribe",
    "+unsubscribe",
    "+psubscribe",
    "+punsubscribe",
    "+sentinel|get-master-addr-by-name",
    "+sentinel|master",
    "+sentinel|masters",
    "+sentinel|replicas",
    "+sentinel|slaves",
    "+sentinel|sentinels",
)


def sha256(password: str) -> str:
    """Return the hash under which a server keeps ``password``."""
    return hashlib.sha256(str(password).encode()).hexdigest()


def quoted(value: str) -> str:
    """Return ``value`` as one word of a configuration file, whatever it holds."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def account(rules: list[str], name: str, password: str) -> dict[str, Any]:
    """Return one of the kit's own accounts."""
    return {"name": name, "enabled": True, "hashes": [sha256(password)], "rules": rules}


def accounts(users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the declared users as accounts of the servers."""
    return [
        {
            "name": user["name"],
            "enabled": user.get("enabled", True),
            "hashes": _hashes(user),
            "rules": _rules(user),
        }
        for user in users
    ]


def granted(user: dict[str, Any]) -> tuple[str, list[str]]:
    """Return a declared user's name and the commands that it gets beyond an application's."""
    return user["name"], list(user["also"])


def discovery(users: list[dict[str, Any]], more: list[str]) -> list[dict[str, Any]]:
    """Return the declared users as accounts of the Sentinels: they may ask who is primary.

    ``more`` are rights that not every release knows.
    """
    return [
        {
            "name": user["name"],
            "enabled": user.get("enabled", True),
            "hashes": _hashes(user),
            "rules": ["-@all", "&*", *_DISCOVERY, *more],
        }
        for user in users
    ]


def elected(votes: list[str], quorum: int) -> str:
    """Return the address that at least ``quorum`` of ``votes`` name, "" when there is none."""
    named = Counter(vote for vote in votes if vote).most_common(1)
    return named[0][0] if named and named[0][1] >= quorum else ""


def guests(members: list[str], hostvars: Any, peers: list[str]) -> list[str]:
    """Return the ``members`` that follow a host of another cluster, by its address."""
    followed = {
        name: str((hostvars[name].get("__redis_state") or {}).get("primary") or "")
        for name in members
    }
    return [name for name, primary in followed.items() if primary.split(" ")[0] in peers]


def _hashes(user: dict[str, Any]) -> list[str]:
    passwords = [user["password"]] if user.get("password") else []
    return sorted({*map(sha256, passwords), *user.get("password_hashes", [])})


def _rules(user: dict[str, Any]) -> list[str]:
    rules = [f"~{pattern}" for pattern in user.get("keys", [])]
    rules += [f"%R~{pattern}" for pattern in user.get("read_keys", [])]
    rules += [f"%W~{pattern}" for pattern in user.get("write_keys", [])]
    rules += ["resetchannels", *(f"&{pattern}" for pattern in user.get("channels", []))]
    rules += user.get("commands", _DEFAULT_COMMANDS)
    if not user.get("admin"):
        rules += _NEVER
        rules += [f"+{command}" for command in user.get("also", [])]
    return rules


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filters by name."""
        return {
            "dbops_redis_account": account,
            "dbops_redis_accounts": accounts,
            "dbops_redis_discovery": discovery,
            "dbops_redis_elected": elected,
            "dbops_redis_granted": granted,
            "dbops_redis_guests": guests,
            "dbops_redis_quoted": quoted,
            "dbops_redis_sha256": sha256,
        }
