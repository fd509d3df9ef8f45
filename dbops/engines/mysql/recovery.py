"""The replay of the log, and what the restored server is asked until it is proven sound."""

from __future__ import annotations

import time

import pymysql

from dbops.contract import Progress
from dbops.engines.mysql import (
    client,
    events,
    flavor,
    heartbeat,
    members,
    private_server,
    refill,
    replay,
)
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.destination import Work
from dbops.engines.mysql.options import Options
from dbops.engines.mysql.private_server import Server
from dbops.errors import DbopsError, Unreachable, VerificationFailed

_START_SECONDS = 300.0


def place(opts: Options, work: Work) -> Server:
    """Return the server of dbops's own that a restore works with, its folder made anew."""
    run_dir = work.folder / "run"
    refill.make(run_dir, opts.os_user)
    kind = flavor.named(opts.flavor)
    data_dir = opts.require_path("data_dir")
    return Server(opts.config_file, data_dir, run_dir, opts.os_user, None, kind)


def replayed(opts: Options, work: Work, kept: str, tell: Progress) -> None:
    """Replay the log to the point, verify what is there and begin a new log after it.

    Raises VerificationFailed, which says where the former data are ``kept``.
    """
    at, way = place(opts, work), work.way
    try:
        with private_server.running(at, opts.restore_time_limit_seconds):
            with at.connect(30) as connection:
                replay.seed(connection, way.start)
            position = replay.run(at, way.chain, way.start, way.until, tell)
            with at.connect(60) as connection:
                _require_beat(connection, opts.heartbeat_schema)
                events.settle(connection, opts.heartbeat_schema)
                replay.begin_anew(connection, position, way.highest)
    except (DbopsError, pymysql.Error) as error:
        words = explain(error) or str(error)
        raise VerificationFailed(f"The restore ended before its point: {words} ({kept}).") from None
    work.done.append(str(position))


def _require_beat(connection: Connection, schema: str) -> None:
    there = client.value(
        connection,
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s "
        "AND table_name = 'heartbeat'",
        [schema],
    )
    if there and heartbeat.newest(connection, schema) is None:
        raise VerificationFailed("its heartbeat table is empty")


def sound(opts: Options, work: Work | None) -> None:
    """Raise VerificationFailed unless the heartbeat, if there is one, can be read.

    A server that was just restored is given time to answer; without a unit none was started.
    """
    if work is not None and opts.service is None:
        return
    end = time.monotonic() + (_START_SECONDS if work is not None else 0)
    while True:
        try:
            with client.local(opts) as connection:
                _require_beat(connection, opts.heartbeat_schema)
            return
        except Unreachable:
            if time.monotonic() >= end:
                raise
        time.sleep(0.5)


def receives(opts: Options) -> bool | None:
    """Return whether a replica follows its source, None on a primary."""
    with client.local(opts) as connection:
        standing = members.standing(connection)
    return standing.receiving if standing.role == "replica" else None


def explain(error: Exception) -> str | None:
    """Return what the server's own error means, None for any other."""
    return client.reason(error) if isinstance(error, pymysql.Error) else None
