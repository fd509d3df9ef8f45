"""Samples of a member: is it up, what role, how far behind, how full, how long its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from dbops.contract import Sample
from dbops.engines.postgresql import client, handshake, replication_metrics
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.errors import Unreachable
from dbops.monitor import samples
from dbops.targets import Target

_STATEMENT_SECONDS = 5.0
_SERVER = """
SELECT current_setting('server_version'), current_setting('max_connections')::float8,
  current_setting('superuser_reserved_connections')::float8,
  (SELECT count(*)::float8 FROM pg_roles WHERE rolsuper),
  (SELECT count(*)::float8 FROM pg_settings WHERE pending_restart),
  (SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid)))::float8 / 2147483648
   FROM pg_database),
  extract(epoch FROM pg_postmaster_start_time())::float8"""
_SESSIONS = """
SELECT count(*)::float8,
  coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)
    FILTER (WHERE pid <> pg_backend_pid())), 0)::float8,
  (count(*) FILTER (WHERE wait_event_type = 'Lock'))::float8,
  coalesce((SELECT extract(epoch FROM max(clock_timestamp() - waitstart)) FROM pg_locks
    WHERE NOT granted), 0)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend'"""


def collect(target: Target, options: Options) -> Iterator[Sample]:
    """Yield what can be had without the server, then what it says; Unreachable when it is down."""
    yield from samples.disk("data", options.require_path("data_dir"))
    yield from samples.disk("log", options.require_path("data_dir") / "pg_wal")
    address = handshake.own_address(target, options)
    yield from samples.certificate(address, handshake.certificate)
    try:
        connection = client.connect(options, statement_timeout_seconds=_STATEMENT_SECONDS)
    except Unreachable:
        yield Sample("dbops_up", 0.0, (), _UP)
        yield from replication_metrics.unknown()
        raise
    with connection:
        try:
            yield Sample("dbops_up", 1.0, (), _UP)
            about = _row(connection, _SERVER)
            yield from server(about)
            yield from sessions(_row(connection, _SESSIONS), about)
            yield from replication_metrics.collect(target, options, connection)
        except psycopg.Error as error:
            yield Sample("dbops_up", 0.0, (), _UP)
            yield from replication_metrics.unknown()
            raise Unreachable(
                f"PostgreSQL on {target.member} stopped answering: {client.reason(error)}."
            ) from None


_UP = "Whether the server answers."


def server(row: tuple[Any, ...]) -> Iterator[Sample]:
    """Yield what one row says of the server as a whole."""
    version, _, _, superusers, pending, wraparound, started = row
    yield Sample(
        "dbops_server_version_info",
        1.0,
        (("version", version.split(" ")[0]),),
        "The server's version.",
    )
    yield Sample("dbops_superusers", superusers, (), "Roles that may do everything.")
    yield Sample(
        "dbops_config_pending_restart", pending, (), "Settings that wait for a restart to hold."
    )
    yield Sample(
        "dbops_txid_wraparound_used_ratio",
        wraparound,
        (),
        "How much of the transaction numbers is used before the server must stop.",
    )
    yield Sample("dbops_start_timestamp_seconds", started, (), "When the server was started.")


def sessions(row: tuple[Any, ...], limits: tuple[Any, ...]) -> Iterator[Sample]:
    """Yield what one row says of the sessions, against the limits of the server."""
    used, longest, blocked, wait = row
    yield Sample(
        "dbops_connections_used_ratio",
        used / max(1.0, limits[1] - limits[2]),
        (),
        "Sessions in relation to those that ordinary roles may open.",
    )
    yield Sample("dbops_connections", used, (), "Sessions of clients.")
    yield Sample(
        "dbops_longest_transaction_seconds",
        longest,
        (),
        "Age of the oldest transaction that is open.",
    )
    yield Sample("dbops_blocked_sessions", blocked, (), "Sessions that wait for a lock.")
    yield Sample(
        "dbops_longest_lock_wait_seconds",
        wait,
        (),
        "How long the session has waited that waits longest for a lock.",
    )


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row
