"""Samples of replication that stay right when the link is cut.

Lag in seconds is the age of the newest heartbeat that this member has: it goes on growing whatever
the link does. Lag in bytes is what was received and not applied while the link is up; while it is
cut, it is the rate at which the stream came in before, marked by ``_known`` 0. The primary's view
of each replica stays when the replica is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from dbops.contract import Sample
from dbops.engines.redis import heartbeat
from dbops.engines.redis.client import Connection
from dbops.errors import CommandFailed
from dbops.monitor.target import Link, Seen
from dbops.targets import Target

SILENCE_SECONDS = 35.0
"""A primary pings its replicas every 10 s by default."""

_seen: dict[tuple[str, str], Seen] = {}
_offsets: dict[tuple[str, str], float] = {}


def beat(connection: Connection) -> float | None:
    """Return the time of the newest heartbeat, None when there is none to be had."""
    try:
        found = heartbeat.newest(connection)
    except CommandFailed:
        return None
    return found.timestamp() if found else None


def link(target: Target, info: Mapping[str, str], beat_at: float) -> Link | None:
    """Return how the member that INFO ``info`` describes follows the primary, None if it is one."""
    if is_primary(info):
        return None
    seen = _seen.setdefault((target.cluster, target.member), Seen())
    return replica(info, beat_at, seen, time.time())


def is_primary(info: Mapping[str, str]) -> bool:
    """Tell whether the server that INFO ``info`` describes is a primary."""
    return info.get("role") == "master"


def replica(info: Mapping[str, str], beat_at: float, seen: Seen, now: float) -> Link:
    """Return a replica's link; ``seen`` carries what was known while it was up."""
    silence = float(info.get("master_last_io_seconds_ago", "-1"))
    applied = float(info.get("slave_repl_offset", "0"))
    if info.get("master_link_status") == "up" and 0 <= silence < SILENCE_SECONDS:
        end = float(info.get("slave_read_repl_offset", applied))
        return seen.measured(applied, end, now - silence)
    return seen.estimated(applied, 0.0, beat_at, now)


def collect(target: Target, info: Mapping[str, str]) -> Iterator[Sample]:
    """Yield what the primary alone knows: how far behind each of the other members is."""
    if not is_primary(info):
        return
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
