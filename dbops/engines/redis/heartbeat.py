"""The heartbeat: one small hash that the primary rewrites every few seconds.

Its age after a restore is the measured recovery point; its age on a replica is the lag in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from dbops.engines.redis import client, options
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.content import HEARTBEAT
from dbops.engines.redis.options import Options
from dbops.monitor import heartbeat as loop
from dbops.options import require_part
from dbops.targets import Target


def heartbeat(target: Target, stop: Callable[[], bool]) -> None:
    """Write a beat every interval while the local server is the primary, until ``stop()``.

    It rests on a replica and outlives every restart of the server; each change is logged once.
    Raises ConfigError only when the target is no member's.
    """
    require_part(target, "member")
    opts = options.read(target)
    connect = partial(_open, opts, target.member)
    once = partial(beat, member=target.member)
    loop.run(connect, once, stop, opts.heartbeat_interval_seconds)


def _open(opts: Options, member: str) -> Connection:
    return client.member(opts, member, opts.heartbeat_user, opts.heartbeat_password_file)


def beat(connection: Connection, member: str) -> str:
    """Write one beat on a primary and return the role that the server has."""
    if text(connection.ask("ROLE")[0]) != "master":
        return "replica"
    found = connection.ask("HGET", HEARTBEAT, "sequence")
    number = int(found) + 1 if found and found.isdigit() else 1
    now = f"{time.time():.3f}"
    connection.ask("HSET", HEARTBEAT, "member", member, "beat_at", now, "sequence", number)
    return "primary"


def newest(connection: Connection) -> datetime | None:
    """Return the time of the newest beat that this server has, None when it has none."""
    found = connection.ask("HGET", HEARTBEAT, "beat_at")
    try:
        return datetime.fromtimestamp(float(found), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
