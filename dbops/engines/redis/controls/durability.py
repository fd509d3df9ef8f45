"""Controls of what is kept: limits, persistence, replicas that must be there."""

from __future__ import annotations

from dbops.audit.rules import Finding, Rule, Wanted, expect, settings, verdict
from dbops.engines.redis.controls.facts import Facts

MOST_CLIENTS = 100_000
_CLOSED: Wanted = {
    "enable-protected-configs": "no",
    "enable-debug-command": "no",
    "enable-module-command": "no",
}


def limits(facts: Facts) -> Finding:
    """RD-17."""
    problems = []
    if int(facts.setting("maxmemory") or 0) <= 0:
        problems.append("maxmemory is not set")
    policy = facts.setting("maxmemory-policy")
    evicts = policy != "noeviction"
    if facts.options.purpose == "store" and evicts:
        problems.append(f"maxmemory-policy {policy} throws data of a store away")
    if facts.options.purpose == "cache" and not evicts:
        problems.append("maxmemory-policy noeviction lets a cache refuse writes")
    if not 0 < int(facts.setting("maxclients") or 0) <= MOST_CLIENTS:
        problems.append(f"maxclients is {facts.setting('maxclients')}")
    if int(facts.setting("tcp-keepalive") or 0) <= 0:
        problems.append("tcp-keepalive is off")
    return verdict(problems, f"{facts.setting('maxmemory')} bytes, {policy}")


def kept(facts: Facts) -> Finding:
    """RD-18."""
    wanted = {"rdbchecksum": "yes", "stop-writes-on-bgsave-error": "yes"}
    if facts.options.purpose == "store":
        wanted |= {"appendonly": "yes", "aof-timestamp-enabled": "yes"}
    found = expect(facts.settings, wanted)
    problems = [found.detail] if found.status == "fail" else []
    store = facts.options.purpose == "store"
    if store and facts.setting("appendfsync") not in ("always", "everysec"):
        problems.append(f"appendfsync is {facts.setting('appendfsync')}")
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    problems += [f"{name} is {facts.info[name]}" for name in names if facts.info[name] != "ok"]
    return verdict(problems, found.detail)


def declared(facts: Facts) -> Finding:
    """RD-19."""
    wanted = facts.options.expected_settings
    if not wanted:
        return verdict(["the target declares no settings of replication to compare with"])
    return expect(facts.settings, wanted)


RULES: tuple[Rule[Facts], ...] = (
    Rule("RD-14", "Protected settings, debugging and modules are closed", settings(_CLOSED)),
    Rule("RD-17", "Memory and clients have limits that fit the purpose", limits),
    Rule("RD-18", "Data are kept as declared", kept),
    Rule("RD-19", "Writes need as many replicas as declared", declared),
)
