"""Samples of a member: what it says of itself, and what only PostgreSQL's servers have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dbops.contract import Sample
from dbops.engines.postgresql.client import Connection
from dbops.monitor.target import Vitals

_VITALS = """
SELECT current_setting('server_version'),
  extract(epoch FROM pg_postmaster_start_time())::float8,
  current_setting('max_connections')::float8
  - current_setting('superuser_reserved_connections')::float8"""
_SERVER = """
SELECT (SELECT count(*)::float8 FROM pg_roles WHERE rolsuper),
  (SELECT count(*)::float8 FROM pg_settings WHERE pending_restart),
  (SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid)))::float8 / 2147483648
   FROM pg_database)"""
_SESSIONS = """
SELECT count(*)::float8,
  coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)
    FILTER (WHERE pid <> pg_backend_pid())), 0)::float8,
  (count(*) FILTER (WHERE wait_event_type = 'Lock'))::float8,
  coalesce((SELECT extract(epoch FROM max(clock_timestamp() - waitstart)) FROM pg_locks
    WHERE NOT granted), 0)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend'"""


def vitals(connection: Connection) -> Vitals:
    """Return what the server says of itself as a whole."""
    version, started, limit = _row(connection, _VITALS)
    used, longest, blocked, wait = _row(connection, _SESSIONS)
    return Vitals(version.split(" ")[0], started, used, limit, longest, blocked, wait)


def server(connection: Connection) -> Iterator[Sample]:
    """Yield what only PostgreSQL's servers have."""
    superusers, pending, wraparound = _row(connection, _SERVER)
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


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row
