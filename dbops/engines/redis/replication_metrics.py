"""Samples of replication that stay right when the link is cut.

Lag in seconds is the age of the newest heartbeat that this member has: it goes on growing whatever
the link does. Lag in bytes is what was received and not applied while the link is up; while it is
cut, it is the rate at which the stream came in before, marked by ``_known`` 0. The primary's view
of each replica stays when the replica is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dbops.contract import Sample
from dbops.engines.redis import heartbeat
from dbops.engines.redis.client import Connection
from dbops.errors import CommandFailed
from dbops.monitor import samples
from dbops.targets import Target

SILENCE_SECONDS = 35.0
"""A primary pings its replicas every 10 s by default."""


@dataclass
class Seen:
    """What was last known of the source while the link was up. Times are seconds since 1970."""

    contact: float = 0.0
    end: float = 0.0
    rate: float = 0.0


_seen: dict[tuple[str, str], Seen] = {}
_offsets: dict[tuple[str, str], float] = {}


def collect(target: Target, info: Mapping[str, str], beat_at: float | None) -> Iterator[Sample]:
    """Yield role, lag and link of the member that INFO ``info`` describes."""
    primary = info.get("role") == "master"
    for role, held in (("primary", primary), ("replica", not primary)):
        yield Sample("dbops_role", float(held), (("role", role),), "Whether it holds this role.")
    age = max(0.0, time.time() - beat_at) if beat_at is not None else 0.0
    yield Sample("dbops_heartbeat_age_seconds", age, (), "Age of the newest heartbeat here.")
    yield Sample("dbops_heartbeat_known", float(beat_at is not None), (), "Whether there is one.")
    if primary:
        yield from primary_samples(target, info)
    else:
        seen = _seen.setdefault((target.cluster, target.member), Seen())
        yield from replica_samples(info, beat_at, seen, time.time())


def unknown() -> Iterator[Sample]:
    """Yield what is said when the server does not answer; the values stay as they were."""
    for name in ("replication_lag_seconds", "replication_lag_bytes"):
        yield Sample(f"dbops_{name}_known", 0.0, (), samples.KNOWN)


def beat(connection: Connection) -> float | None:
    """Return the time of the newest heartbeat, None when there is none to be had."""
    try:
        found = heartbeat.newest(connection)
    except CommandFailed:
        return None
    return found.timestamp() if found else None


def replica_samples(
    info: Mapping[str, str], beat_at: float | None, seen: Seen, now: float
) -> Iterator[Sample]:
    """Yield a replica's lag and link; ``seen`` carries what was known while the link was up."""
    silence = float(info.get("master_last_io_seconds_ago", "-1"))
    up = info.get("master_link_status") == "up" and 0 <= silence < SILENCE_SECONDS
    applied = float(info.get("slave_repl_offset", "0"))
    end = float(info.get("slave_read_repl_offset", applied))
    if up:
        contact = now - silence
        if seen.contact and now > seen.contact:
            seen.rate = max(0.0, (end - seen.end) / max(0.001, now - seen.contact))
        seen.contact, seen.end = contact, end
        behind = max(0.0, end - applied)
    else:
        since = max(0.0, now - (seen.contact or beat_at or now))
        behind = max(1.0, seen.end - applied) + seen.rate * since
    last = seen.contact or beat_at or 0.0
    yield from samples.lag(
        now - beat_at if beat_at is not None else 0.0, behind, beat_at is not None, up
    )
    yield from samples.link(up, last)


def primary_samples(target: Target, info: Mapping[str, str]) -> Iterator[Sample]:
    """Yield a primary's own zeros and how far behind each of the other members is."""
    yield from samples.lag(0.0, 0.0, True, True)
    yield from samples.link(True, time.time())
    written = float(info.get("master_repl_offset", "0"))
    connected = replicas(target, info)
    for name in target.members:
        if name == target.member:
            continue
        key = target.cluster, name
        if name in connected:
            _offsets[key] = connected[name]
        labels = (("source", target.member), ("replica", name))
        yield Sample(
            "dbops_replica_lag_bytes",
            max(0.0, written - _offsets.get(key, written)),
            labels,
            "Stream written here that the replica has not acknowledged.",
        )
        yield Sample(
            "dbops_replica_connected",
            float(name in connected),
            labels,
            "Whether the replica is connected and in step.",
        )


def replicas(target: Target, info: Mapping[str, str]) -> dict[str, float]:
    """Return the offset that each connected member has acknowledged, by the member's name."""
    hosts = {address: name for name, address in dict(target.options.get("hosts", {})).items()}
    found = {}
    for name, value in info.items():
        if not (name.startswith("slave") and name[5:].isdigit()):
            continue
        about = dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
        member = hosts.get(about.get("ip", ""))
        if member is not None and about.get("state") == "online":
            found[member] = float(about.get("offset", "0"))
    return found
