"""The checks of a host that serves the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pymysql

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.mysql import client, flavor, heartbeat, members
from dbops.engines.mysql.backup import series
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.flavor import MARIADB, Flavor
from dbops.engines.mysql.members import Standing
from dbops.engines.mysql.options import Options
from dbops.errors import Unreachable
from dbops.targets import Target

FRESH_SECONDS = 10.0
_OUTSIDE = (
    "SELECT table_schema, table_name, engine FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND engine NOT IN ('InnoDB', 'SEQUENCE') AND table_schema "
    "NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') LIMIT 5"
)


def directories(target: Target, opts: Options) -> Iterator[Check]:
    """The data directory's owner and mode, and the room on its disk."""
    data_dir = opts.require_path("data_dir")
    yield lines.private(data_dir, "data directory is private", opts.os_user)
    yield lines.headroom(data_dir, "data disk has room")


def certificate(target: Target, opts: Options) -> Iterator[Check]:
    """The TLS certificate's last day."""
    yield lines.certificate(opts.tls_certificate)


def server(target: Target, opts: Options) -> Iterator[Check]:
    """The server itself: settings, role, replication, heartbeat."""
    try:
        connection = client.local(opts)
    except Unreachable as error:
        yield Check("server answers", False, str(error), "start the service and read its log")
        return
    with connection:
        yield Check("server answers", True, f"port {opts.port}")
        try:
            yield from _server(target, opts, connection)
        except pymysql.Error as error:
            yield Check("server answers queries", False, client.reason(error), "read its log")


def _server(target: Target, opts: Options, connection: Connection) -> Iterator[Check]:
    found = client.variables(connection)
    version = series(found["version"])
    detail = f"{version}, the target says {target.version}"
    yield Check("version", version == target.version, detail, "render the target again")
    yield from settings(found, flavor.of(connection))
    outside = [f"{d}.{t} ({e})" for d, t, e in client.rows(connection, _OUTSIDE)]
    hint = "ALTER TABLE … ENGINE=InnoDB: only its tables have snapshots and survive a crash"
    yield Check("all tables are InnoDB's", not outside, ", ".join(outside), hint)
    yield from exactness(flavor.of(connection), connection)
    here = members.standing(connection)
    yield Check("role", True, here.role)
    if here.role == "replica":
        yield from replica(here, found)
    else:
        yield from primary(target, connection, found)
    yield beat(opts, connection)


def settings(found: Mapping[str, str], kind: Flavor = MARIADB) -> Iterator[Check]:
    """Check the settings without which a backup, a replay or a crash would lose something."""
    for name, wanted in kind.wanted.items():
        value = found.get(name, "")
        yield Check(name, value == wanted, value, "run provision, then restart")


def exactness(kind: Flavor, connection: Connection) -> Iterator[Check]:
    """Check that a backup keeps every value, where its tool writes values as text."""
    if kind.rounded:
        found = [f"{d}.{t}.{c}" for d, t, c in client.rows(connection, kind.rounded)]
        hint = "make them DOUBLE: a dump writes FLOAT with six digits, and a drill then fails"
        yield Check("no column is rounded by a backup", not found, ", ".join(found), hint)


def replica(here: Standing, found: Mapping[str, str]) -> Iterator[Check]:
    """Check that a replica receives, keeps up, and takes nothing from others."""
    hint = "read the replica's status, then run replicate"
    yield Check("replica receives", here.receiving, "", hint)
    lag = here.lag_seconds
    ok = lag is not None and lag <= members.MAX_LAG_SECONDS
    yield Check("replica keeps up", ok, "unknown" if lag is None else f"{lag} s behind", hint)
    value = found.get("read_only", "")
    yield Check("replica is read-only", value != "OFF", value, "run replicate")


def primary(target: Target, connection: Connection, found: Mapping[str, str]) -> Iterator[Check]:
    """Check that the primary is open and that its replicas are connected."""
    value = found.get("read_only", "")
    yield Check("primary is open for writing", value == "OFF", value, "run replicate")
    dumps = client.value(connection, flavor.of(connection).readers)
    expected = len(target.members) - 1
    detail = f"{dumps} of {expected}"
    yield Check("replicas are connected", int(dumps) >= expected, detail, "run replicate")


def beat(opts: Options, connection: Connection) -> Check:
    """Check that the newest heartbeat is fresh."""
    name = "heartbeat is fresh"
    hint = "look at the service dbops-heartbeat on the primary, then at the replication"
    try:
        newest = heartbeat.newest(connection, opts.heartbeat_schema)
    except pymysql.Error as error:
        return Check(name, False, client.reason(error), hint)
    if newest is None:
        return Check(name, False, "no beat was ever written", hint)
    age = (datetime.now(UTC) - newest).total_seconds()
    limit = max(FRESH_SECONDS, 5 * opts.heartbeat_interval_seconds)
    return Check(name, age <= limit, f"{age:.1f} s ago", hint)
