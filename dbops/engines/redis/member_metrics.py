"""Samples of a member: what it says of itself, what it keeps, who was turned away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dbops.contract import Sample
from dbops.engines.redis import client, replication_metrics
from dbops.engines.redis.client import Connection, fields, text
from dbops.errors import CommandFailed
from dbops.monitor.target import Vitals

Info = Mapping[str, str]
_SECTIONS = (
    "server", "clients", "memory", "persistence", "stats", "replication", "keyspace", "errorstats",
)  # fmt: skip
_DENIED = "acl_access_denied_"
_REFUSALS = ("errorstat_NOPERM", "errorstat_WRONGPASS")


class Reading(NamedTuple):
    """What was read of a server at once: INFO, and the time of the newest heartbeat, if any."""

    info: Info
    beat: float | None


def read(connection: Connection) -> Reading:
    """Read what the samples are made of; Unreachable or CommandFailed when it is not to be had."""
    found: dict[str, str] = {}
    for answer in connection.many([("INFO", section) for section in _SECTIONS]):
        if isinstance(answer, Exception):
            raise CommandFailed(f"{connection.where} refuses INFO: {client.reason(answer)}.")
        found |= fields(answer)
    return Reading(found, replication_metrics.beat(connection))


def vitals(reading: Reading) -> Vitals:
    """Return what the server says of itself as a whole."""
    info = reading.info
    now = number(info, "server_time_usec") // 1_000_000
    return Vitals(
        version=info.get("valkey_version") or info.get("redis_version", ""),
        started=now - number(info, "uptime_in_seconds"),
        sessions=number(info, "connected_clients"),
        sessions_limit=number(info, "maxclients"),
    )


def more(info: Info) -> Iterator[Sample]:
    """Yield what only Redis and Valkey have."""
    yield from clients(info)
    yield from memory(info)
    yield from persistence(info)
    yield from keys(info)
    yield Sample(
        "dbops_access_denied",
        denied(info),
        (),
        "Refused log-ins and commands since the server was started.",
    )


def denied(info: Info) -> float:
    """Return how often the server refused a log-in or a command; 7.0 tells it by its errors."""
    counts = [number(info, name) for name in info if name.startswith(_DENIED)]
    if counts:
        return sum(counts)
    errors = (info.get(name, "").removeprefix("count=") for name in _REFUSALS)
    return float(sum(int(count) for count in errors if count.isdigit()))


def number(info: Info, name: str) -> float:
    """Return a value of INFO as a number, 0 when this version has no such one."""
    try:
        return float(info.get(name, "0"))
    except ValueError:
        return 0.0


def clients(info: Info) -> Iterator[Sample]:
    """Yield whom the server keeps waiting, or out."""
    yield Sample(
        "dbops_rejected_connections_total",
        number(info, "rejected_connections"),
        (),
        "Sessions refused because too many were open.",
        "counter",
    )
    yield Sample(
        "dbops_blocked_sessions",
        number(info, "blocked_clients"),
        (),
        "Sessions that wait in a blocking command.",
    )


def memory(info: Info) -> Iterator[Sample]:
    """Yield how much memory the data take, and what that has cost."""
    yield Sample(
        "dbops_memory_used_bytes", number(info, "used_memory"), (), "Memory that data take."
    )
    yield Sample(
        "dbops_memory_resident_bytes",
        number(info, "used_memory_rss"),
        (),
        "Memory that the server's process takes.",
    )
    yield Sample(
        "dbops_memory_limit_bytes",
        number(info, "maxmemory"),
        (),
        "Memory that data may take; 0 is no limit.",
    )
    yield Sample(
        "dbops_evicted_keys_total",
        number(info, "evicted_keys"),
        (),
        "Keys removed because memory was full.",
        "counter",
    )


def persistence(info: Info) -> Iterator[Sample]:
    """Yield whether what is in memory comes to the disk."""
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    failing = any(info.get(name, "ok") != "ok" for name in names)
    yield Sample(
        "dbops_persistence_failing",
        float(failing),
        (),
        "Whether the last attempt to write data to the disk failed.",
    )
    yield Sample(
        "dbops_persistence_enabled",
        float(info.get("aof_enabled") == "1"),
        (),
        "Whether every write goes to an append-only file.",
    )
    yield Sample(
        "dbops_commands_discarded_total",
        float(client.discarded(info)),
        (),
        "Commands of its log or its primary that the server did not carry out: data is missing.",
        "counter",
    )
    yield Sample(
        "dbops_loading", float(info.get("loading") != "0"), (), "Whether it is loading its data."
    )


def keys(info: Info) -> Iterator[Sample]:
    """Yield how many keys there are; database 0 is always told of."""
    counts = {"db0": "keys=0,expires=0"} | {
        name: value for name, value in info.items() if name[:2] == "db" and name[2:].isdigit()
    }
    for name, value in sorted(counts.items()):
        found = fields(value.replace(",", "\n").replace("=", ":").encode())
        labels = (("database", text(name)[2:]),)
        yield Sample("dbops_keys", number(found, "keys"), labels, "Keys in this database.")
        yield Sample(
            "dbops_keys_expiring", number(found, "expires"), labels, "Keys that expire in it."
        )
    yield Sample(
        "dbops_expired_keys_total", number(info, "expired_keys"), (), "Keys expired.", "counter"
    )
