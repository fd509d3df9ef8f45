"""The controls against settings and accounts as a server gives them: what is loose is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbops.engines.redis import audit, options
from dbops.engines.redis.controls import accounts, durability, facts, host, network
from dbops.engines.redis.controls.facts import Facts, User
from tests.unit.redis.made import target

GOOD = {
    "bind": "10.0.0.1 127.0.0.1",
    "protected-mode": "yes",
    "tls-auth-clients": "yes",
    "tls-replication": "yes",
    "enable-protected-configs": "no",
    "enable-debug-command": "no",
    "enable-module-command": "no",
    "masteruser": "dbops_replication",
    "masterauth": "x" * 40,
    "maxmemory": "1000000",
    "maxmemory-policy": "noeviction",
    "maxclients": "10000",
    "tcp-keepalive": "300",
    "tcp-backlog": "511",
    "rdbchecksum": "yes",
    "stop-writes-on-bgsave-error": "yes",
    "appendonly": "yes",
    "aof-timestamp-enabled": "yes",
    "appendfsync": "everysec",
    "min-replicas-to-write": "1",
}
INFO = dict.fromkeys(
    ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"), "ok"
)


def user(name: str, commands: str, keys: str = "~app:*", **more: Any) -> User:
    """Return an enabled account with a password."""
    about: dict[str, Any] = {
        "enabled": True,
        "without_password": False,
        "passwords": ("a" * 64,),
        "commands": (commands,),
        "keys": (keys,),
    }
    return User(name=name, **(about | more))


USERS = (
    user("default", "+@all", "~*", enabled=False, passwords=()),
    user("dbops_admin", "+@all", "~*"),
    user("dbops_replication", "-@all +psync +replconf +ping", ""),
    user("dbops_monitor", "-@all +ping +info +hget", "%R~dbops:heartbeat"),
    user("app", "+@all -@dangerous"),
)


def made(
    tmp_path: Path, users: tuple[User, ...] = USERS, may: tuple[str, ...] = (), **settings: str
) -> Facts:
    """Return the facts of a member; ``may`` names commands that are wrongly allowed."""
    there = target(tmp_path, expected_settings={"min-replicas-to-write": "1"})

    def ask(*command: Any) -> Any:
        if command[:2] == ("ACL", "DRYRUN"):
            return b"OK" if command[3] in may else b"User has no permissions to run it"
        return []

    return Facts(
        target=there,
        options=options.read(there),
        settings=GOOD | {name.replace("_", "-"): value for name, value in settings.items()},
        info=INFO,
        users=users,
        process=1,
        ask=ask,
        container=tmp_path / "no-container",
    )


def control(control_id: str) -> Any:
    """Return what a control looks with."""
    (found,) = [rule.check for rule in audit.RULES if rule.control_id == control_id]
    return found


def test_every_control_is_there_once() -> None:
    assert [rule.control_id for rule in audit.RULES] == [f"RD-{n:02}" for n in range(1, 26)]


@pytest.mark.parametrize(
    "check",
    [
        network.bound,
        control("RD-03"),
        control("RD-12"),
        control("RD-14"),
        durability.limits,
        durability.kept,
        durability.declared,
        accounts.key_patterns,
        accounts.dangerous_commands,
        accounts.replication_account,
        accounts.names_of_others,
        accounts.code_of_others,
        accounts.least_rights,
    ],
)
def test_what_is_right_passes(tmp_path: Path, check: Any) -> None:
    found = check(made(tmp_path))
    assert found.status == "pass", found.detail


@pytest.mark.parametrize(
    ("check", "settings", "words"),
    [
        (network.bound, {"bind": "* -::*"}, "listens on *"),
        (network.bound, {"bind": ""}, "every address"),
        (network.bound, {"bind": "0.0.0.0"}, "0.0.0.0"),
        (control("RD-03"), {"protected_mode": "no"}, "protected-mode is 'no'"),
        (control("RD-12"), {"tls_auth_clients": "optional"}, "tls-auth-clients"),
        (control("RD-14"), {"enable_debug_command": "local"}, "enable-debug-command"),
        (durability.limits, {"maxmemory": "0"}, "maxmemory is not set"),
        (durability.limits, {"maxmemory_policy": "allkeys-lru"}, "throws data of a store away"),
        (durability.limits, {"tcp_keepalive": "0"}, "tcp-keepalive"),
        (durability.kept, {"appendonly": "no"}, "appendonly is 'no'"),
        (durability.kept, {"appendfsync": "no"}, "appendfsync is no"),
        (durability.kept, {"rdbchecksum": "no"}, "rdbchecksum"),
        (durability.declared, {"min_replicas_to_write": "0"}, "min-replicas-to-write is '0'"),
        (accounts.replication_account, {"masterauth": ""}, "not both set"),
        (accounts.replication_account, {"masteruser": "dbops_admin"}, "the administrator"),
        (accounts.replication_account, {"masteruser": "gone"}, "does not exist"),
    ],
)
def test_what_is_loose_is_found(
    tmp_path: Path, check: Any, settings: dict[str, str], words: str
) -> None:
    found = check(made(tmp_path, USERS, (), **settings))
    assert found.status == "fail"
    assert words in found.detail


@pytest.mark.parametrize(
    ("check", "stranger", "words"),
    [
        (accounts.key_patterns, user("app2", "+@all -@dangerous", "~*"), "reaches every key"),
        (accounts.key_patterns, user("app2", "+@all"), "holds the category @dangerous"),
        (accounts.key_patterns, user("app2", "-@all +@admin"), "holds the category @admin"),
        (accounts.key_patterns, user("app2", "-@dangerous +@all"), "@dangerous"),
        (
            accounts.replication_account,
            user("dbops_replication", "-@all +psync +replconf +ping +get", ""),
            "may more than replicate: get",
        ),
        (
            accounts.replication_account,
            user("dbops_replication", "-@all +psync", "~*"),
            "reaches keys",
        ),
        (
            accounts.least_rights,
            user("dbops_monitor", "-@all +info +config|get", "%R~dbops:heartbeat"),
            "dbops_monitor may config|get",
        ),
        (accounts.least_rights, user("dbops_backup", "-@all +info", "~*"), "reaches the keys ~*"),
        (accounts.least_rights, user("dbops_sentinel", "-@all +@read", ""), "may @read"),
    ],
)
def test_an_account_that_may_too_much_is_found(
    tmp_path: Path, check: Any, stranger: User, words: str
) -> None:
    users = (*(one for one in USERS if one.name != stranger.name), stranger)
    found = check(made(tmp_path, users))
    assert found.status == "fail"
    assert words in found.detail


def test_a_selector_counts_like_the_account_itself(tmp_path: Path) -> None:
    known = user("app2", "")
    hidden = replace(known, commands=("+@all -@dangerous", "+@all"), keys=("~app:*", "~*"))
    found = accounts.key_patterns(made(tmp_path, (*USERS, hidden)))
    assert "app2 reaches every key" in found.detail


@pytest.mark.parametrize("command", ["CONFIG", "FLUSHALL", "SHUTDOWN", "DEBUG", "ACL"])
def test_a_command_that_is_allowed_is_found(tmp_path: Path, command: str) -> None:
    found = accounts.dangerous_commands(made(tmp_path, may=(command,)))
    assert found.status == "fail"
    assert f"app may {command}" in found.detail


@pytest.mark.parametrize(
    ("check", "command", "given"),
    [
        (accounts.names_of_others, "SCAN", "scan"),
        (accounts.names_of_others, "PUBSUB", "pubsub|channels"),
        (accounts.names_of_others, "CLIENT", "client|tracking"),
        (accounts.code_of_others, "SCRIPT", "script"),
    ],
)
def test_a_command_that_tells_of_others_is_found_unless_it_was_given(
    tmp_path: Path, check: Any, command: str, given: str
) -> None:
    loose = made(tmp_path, may=(command,))
    found = check(loose)
    assert found.status == "fail"
    assert f"app may {command}" in found.detail
    declared = loose.options.model_copy(update={"granted": {"app": (given,)}})
    assert check(replace(loose, options=declared)).status == "pass"


def test_accounts_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users.acl"
    file.touch(mode=0o600)
    known = made(tmp_path, aclfile=str(file))
    assert accounts.acl_file(known).status == "pass"
    loose = user("app2", "+@all", "~*", without_password=True, passwords=())
    found = accounts.acl_file(made(tmp_path, (*USERS, loose), aclfile=str(file)))
    assert "app2 needs no password" in found.detail
    assert "app2 may do everything" in found.detail
    file.chmod(0o644)
    assert "more than 0640" in accounts.acl_file(known).detail


def test_an_account_as_the_server_tells_it() -> None:
    about = {
        "flags": [b"on", b"nopass"],
        "passwords": [],
        "commands": b"+@all",
        "keys": b"~*",
        "selectors": [[b"commands", b"-@all +get", b"keys", b"~x:*", b"channels", b""]],
    }
    found = facts.user("app", about)
    assert found.enabled
    assert found.without_password
    assert found.commands == ("+@all", "-@all +get")
    assert found.keys == ("~*", "~x:*")


def test_the_kernel(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for name, value in (("vm/overcommit_memory", "0"), ("net/core/somaxconn", "4096")):
        path = proc / "sys" / name
        path.parent.mkdir(parents=True)
        path.write_text(value + "\n")
    there = made(tmp_path)
    known = Facts(**{**vars(there), "proc": proc, "sys": tmp_path / "sys"})
    assert "overcommit_memory is 0" in host.kernel(known).detail
    assert host.kernel(known).status == "fail"
    (tmp_path / "no-container").touch()
    assert host.kernel(known).status == "not applicable"
    (proc / "sys/vm/overcommit_memory").write_text("1\n")
    assert host.kernel(known).status == "pass"
