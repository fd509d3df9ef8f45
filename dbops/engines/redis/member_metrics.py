"""Samples of a member: is it up, how full, what it keeps, who was turned away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dbops.contract import Sample
from dbops.engines.redis import client, handshake, replication_metrics
from dbops.engines.redis.client import Connection, fields, text
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, Unreachable
from dbops.monitor import samples
from dbops.targets import Target

Info = Mapping[str, str]
_UP = "Whether the server answers."
_SECTIONS = (
    "server", "clients", "memory", "persistence", "stats", "replication", "keyspace", "errorstats",
)  # fmt: skip
_DENIED = "acl_access_denied_"
_REFUSALS = ("errorstat_NOPERM", "errorstat_WRONGPASS")


def collect(target: Target, options: Options) -> Iterator[Sample]:
    """Yield what can be had without the server, then what it says; Unreachable when it is down."""
    yield from samples.disk("data", options.require_path("data_dir"))
    address = handshake.own_address(target, options)
    yield from samples.certificate(address, handshake.certificate)
    try:
        connection = client.member(
            options, target.member, options.monitor_user, options.monitor_password_file
        )
        with connection:
            info = _read(connection)
            beat = replication_metrics.beat(connection)
    except (Unreachable, CommandFailed) as error:
        yield Sample("dbops_up", 0.0, (), _UP)
        yield from replication_metrics.unknown()
        raise Unreachable(str(error)) from None
    yield Sample("dbops_up", 1.0, (), _UP)
    yield from server(info)
    yield from sessions(info)
    yield from memory(info)
    yield from persistence(info)
    yield from keys(info)
    yield Sample(
        "dbops_access_denied",
        denied(info),
        (),
        "Refused log-ins and commands since the server was started.",
    )
    yield from replication_metrics.collect(target, info, beat)


def _read(connection: Connection) -> dict[str, str]:
    found: dict[str, str] = {}
    for answer in connection.many([("INFO", section) for section in _SECTIONS]):
        if isinstance(answer, Exception):
            raise CommandFailed(f"{connection.where} refuses INFO: {client.reason(answer)}.")
        found |= fields(answer)
    return found


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


def server(info: Info) -> Iterator[Sample]:
    """Yield what INFO says of the server as a whole."""
    version = info.get("valkey_version") or info.get("redis_version", "")
    yield Sample("dbops_server_version_info", 1.0, (("version", version),), "The server's version.")
    now = number(info, "server_time_usec") // 1_000_000
    started = now - number(info, "uptime_in_seconds")
    yield Sample("dbops_start_timestamp_seconds", started, (), "When the server was started.")


def sessions(info: Info) -> Iterator[Sample]:
    """Yield what INFO says of clients."""
    used = number(info, "connected_clients")
    yield Sample("dbops_connections", used, (), "Sessions of clients.")
    yield Sample(
        "dbops_connections_used_ratio",
        used / max(1.0, number(info, "maxclients")),
        (),
        "Sessions in relation to those that may be open.",
    )
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
