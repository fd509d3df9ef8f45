"""Controls of accounts: who may log in, and what each may do."""

from __future__ import annotations

import re
from pathlib import Path

from dbops.audit.rules import Finding, Rule, permissions, verdict
from dbops.engines.redis import client
from dbops.engines.redis.client import by_name, text
from dbops.engines.redis.controls.facts import Facts, User
from dbops.errors import CommandFailed

LEAST_PASSWORD = 32
_HASH = re.compile(r"[0-9a-f]{64}")
_FORBIDDEN: tuple[tuple[str, ...], ...] = (
    ("CONFIG", "SET", "dir", "/tmp"),
    ("FLUSHALL",),
    ("SHUTDOWN",),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LOAD", "/tmp/x"),
    ("DEBUG", "SLEEP", "0"),
    ("ACL", "SETUSER", "x"),
)
_EVERYBODYS: tuple[tuple[str, ...], ...] = (
    ("SCAN", "0"),
    ("KEYS", "*"),
    ("RANDOMKEY",),
    ("DBSIZE",),
    ("MEMORY", "STATS"),
    ("PUBSUB", "CHANNELS"),
    ("CLIENT", "TRACKING", "ON", "BCAST"),
)
"""What tells of all keys and channels, whatever patterns an account has."""

_CODE: tuple[tuple[str, ...], ...] = (
    ("FUNCTION", "LOAD", "x"),
    ("FUNCTION", "DELETE", "x"),
    ("FUNCTION", "FLUSH"),
    ("FUNCTION", "RESTORE", "x"),
    ("FUNCTION", "LIST"),
    ("FUNCTION", "DUMP"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
)
_REPLICATION = {"psync", "replconf", "ping"}
_LOGIN = {"ping", "auth", "hello", "select", "role", "info", "client|setname", "client|setinfo"}
_NEEDED: dict[str, set[str]] = {
    "dbops_monitor": _LOGIN | {"hget"},
    "dbops_heartbeat": _LOGIN | {"hget", "hset"},
    "dbops_backup": _LOGIN,
    "dbops_migrate": _LOGIN | {"psync", "replconf", "client|pause", "client|unpause"},
    "dbops_sentinel": _LOGIN
    | {
        "multi", "exec", "slaveof", "subscribe", "publish", "config|rewrite", "client|kill",
        "script|kill",
    },
}  # fmt: skip
_HEARTBEAT = {"~dbops:heartbeat", "%R~dbops:heartbeat"}


def no_default(facts: Facts) -> Finding:
    """RD-04."""
    problems = []
    default = next((one for one in facts.users if one.name == "default"), None)
    if default is not None and default.enabled:
        problems.append("the account 'default' is on")
    if default is not None and not _reads_all(default):
        problems.append(
            "the account 'default' may not run every command, so a restart drops the transactions "
            "in the append-only files"
        )
    said = _without_login(facts)
    if not refused(said):
        problems.append(f"PING without a log-in is answered with {said!r}")
    return verdict(problems, "'default' is off and PING is refused without a log-in")


def _reads_all(default: User) -> bool:
    """Tell whether the account has every right: the server reads its files as ``default``."""
    return default.commands[0].split() == ["+@all"] and "~*" in default.keys[0].split()


def refused(said: str) -> bool:
    """Tell whether an answer says that a log-in is wanted."""
    return "NOAUTH" in said or "Authentication required" in said


def _without_login(facts: Facts) -> str:
    opts = facts.options
    with client.at_address(opts, facts.address(), opts.port, None, None) as connection:
        try:
            return text(connection.ask("PING"))
        except CommandFailed as error:
            return str(error)


def acl_file(facts: Facts) -> Finding:
    """RD-05."""
    name = facts.setting("aclfile")
    if not name:
        return verdict(["accounts are kept in no ACL file"])
    problems = permissions(Path(name), {"root", facts.options.os_user}, 0o640)
    for user in facts.users:
        if user.enabled and user.without_password:
            problems.append(f"{user.name} needs no password")
        everything = "+@all" in user.commands[0].split() and "~*" in user.keys[0].split()
        limited = re.search(r"(^| )-", user.commands[0])
        if user.enabled and everything and not limited and user.name not in facts.options.admins:
            problems.append(f"{user.name} may do everything and is no declared administrator")
    return verdict(problems, f"{name}, {len(facts.users)} accounts")


def key_patterns(facts: Facts) -> Finding:
    """RD-06."""
    problems = []
    for user in _of_applications(facts):
        if any("~*" in keys.split() for keys in user.keys):
            problems.append(f"{user.name} reaches every key")
        problems += [
            f"{user.name} holds the category {category}"
            for category in ("@dangerous", "@admin")
            if any(_holds(commands.split(), category) for commands in user.commands)
        ]
    return verdict(problems, f"{len(_of_applications(facts))} accounts of applications")


def names_of_others(facts: Facts) -> Finding:
    """RD-23."""
    return _withheld(facts, _EVERYBODYS)


def code_of_others(facts: Facts) -> Finding:
    """RD-24."""
    return _withheld(facts, _CODE)


def _withheld(facts: Facts, commands: tuple[tuple[str, ...], ...]) -> Finding:
    """Find the applications that may send one of ``commands`` without its being declared."""
    applications = _of_applications(facts)
    problems = [
        f"{user.name} may {' '.join(command[:2])}"
        for user in applications
        for command in commands
        if not _granted(facts, user.name, command) and facts.may(user.name, *command)
    ]
    return verdict(problems, f"{len(commands)} commands denied to {len(applications)}")


def _granted(facts: Facts, name: str, command: tuple[str, ...]) -> bool:
    """Tell whether the inventory gives a command, or one part of it, to an application."""
    declared = {one.lower() for one in facts.options.granted.get(name, ())}
    return bool(declared & {command[0].lower(), "|".join(command[:2]).lower()})


def least_rights(facts: Facts) -> Finding:
    """RD-25."""
    problems = []
    for user in facts.users:
        needed = _NEEDED.get(user.name)
        if needed is None or not user.enabled:
            continue
        rules = " ".join(user.commands).split()
        extra = {rule[1:] for rule in rules if rule.startswith("+")} - needed
        keys = set(" ".join(user.keys).split())
        if user.name in ("dbops_monitor", "dbops_heartbeat"):
            keys -= _HEARTBEAT
        problems += [f"{user.name} may {one}" for one in sorted(extra)]
        problems += [f"{user.name} reaches the keys {one}" for one in sorted(keys)]
    return verdict(problems, ", ".join(sorted(_NEEDED)))


def _of_applications(facts: Facts) -> list[User]:
    return [user for user in facts.ordinary() if not user.name.startswith("dbops_")]


def _holds(rules: list[str], category: str) -> bool:
    """Tell whether rules, read in order, end with the category granted."""
    held = False
    for rule in rules:
        if rule in ("+@all", "allcommands", f"+{category}"):
            held = True
        elif rule in ("-@all", "nocommands", "-@dangerous", f"-{category}"):
            # Whatever is administration is dangerous, too.
            held = False
    return held


def passwords(facts: Facts) -> Finding:
    """RD-07."""
    problems = []
    for user in facts.users:
        if user.enabled and not user.without_password and not user.passwords:
            problems.append(f"{user.name} is on and has no password")
        problems += [
            f"{user.name} has a password that is no SHA-256 sum"
            for one in user.passwords
            if not _HASH.fullmatch(one)
        ]
    opts = facts.options
    for path in (
        opts.admin_password_file,
        opts.monitor_password_file,
        opts.heartbeat_password_file,
    ):
        if path is None:
            continue
        problems += permissions(path, {"root", opts.agent_user}, 0o600)
        if len(path.read_text(encoding="utf-8").strip()) < LEAST_PASSWORD:
            problems.append(f"the password in {path} is shorter than {LEAST_PASSWORD} characters")
    if len(facts.setting("masterauth")) < LEAST_PASSWORD:
        problems.append(f"masterauth is shorter than {LEAST_PASSWORD} characters")
    return verdict(problems, f"{len(facts.users)} accounts, kept as sums")


def dangerous_commands(facts: Facts) -> Finding:
    """RD-15."""
    problems = [
        f"{user.name} may {' '.join(command[:2])}"
        for user in facts.ordinary()
        for command in _FORBIDDEN
        if facts.may(user.name, *command)
    ]
    return verdict(problems, f"{len(_FORBIDDEN)} commands denied to {len(facts.ordinary())}")


def replication_account(facts: Facts) -> Finding:
    """RD-16."""
    name = facts.setting("masteruser")
    problems = []
    if not name or not facts.setting("masterauth"):
        problems.append("masteruser and masterauth are not both set")
    if name in facts.options.admins:
        problems.append(f"replicas log in as the administrator {name}")
    known = {user.name: user for user in facts.users}
    if name and name not in known:
        problems.append(f"the account {name} does not exist here")
    elif name:
        rules = known[name].commands[0].split()
        granted = {rule[1:].split("|")[0] for rule in rules if rule.startswith("+")}
        extra = granted - _REPLICATION
        if extra:
            problems.append(f"{name} may more than replicate: {', '.join(sorted(extra))}")
        if known[name].keys[0].strip():
            problems.append(f"{name} reaches keys")
    return verdict(problems, f"{name} may replicate and nothing else")


def watched(facts: Facts) -> Finding:
    """RD-20."""
    name = facts.options.monitor_user
    if not facts.may(name, "INFO"):
        return verdict([f"{name} may not read how many commands were refused"])
    entries = [by_name(one) for one in facts.ask("ACL", "LOG")]
    count = sum(int(one["count"]) for one in entries)
    last = f", the last by {text(entries[0]['username'])!r}" if entries else ""
    return verdict([], f"{count} refusals remembered{last}, told as dbops_access_denied")


RULES: tuple[Rule[Facts], ...] = (
    Rule("RD-04", "Nobody gets in without a log-in", no_default),
    Rule("RD-05", "Accounts are in a closed file, and only administrators may do all", acl_file),
    Rule("RD-06", "Applications reach their own keys and no dangerous command", key_patterns),
    Rule("RD-07", "Passwords are long, and kept as sums", passwords),
    Rule("RD-15", "Commands that end or take over a server are refused", dangerous_commands),
    Rule("RD-16", "Replicas log in with an account for just that", replication_account),
    Rule("RD-20", "Refused log-ins and commands are watched", watched),
    Rule("RD-23", "Applications do not see the names of others' keys", names_of_others),
    Rule("RD-24", "Applications do not touch the functions and scripts of others", code_of_others),
    Rule("RD-25", "The kit's accounts have the rights that they need, and no other", least_rights),
)
