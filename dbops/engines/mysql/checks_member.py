"""The checks of a host that serves the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dbops.contract import Check
from dbops.engines.mysql import client, events, flavor, members, options
from dbops.engines.mysql.backup import series
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.flavor import MARIADB, Flavor
from dbops.engines.mysql.members import Standing
from dbops.engines.mysql.scheduled import ON, states
from dbops.targets import Target

_OUTSIDE = (
    "SELECT table_schema, table_name, engine FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND engine NOT IN ('InnoDB', 'SEQUENCE') AND table_schema "
    "NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') LIMIT 5"
)

_UPGRADED = ("mariadb_upgrade_info", "mysql_upgrade_info")
_FILTERS = ("Binlog_Do_DB", "Binlog_Ignore_DB")


def server(target: Target, connection: Connection) -> Iterator[Check]:
    """Yield what the server itself says: settings, tables, role, replication."""
    found = client.variables(connection)
    yield from settings(found, flavor.of(connection))
    if flavor.of(connection) is MARIADB:
        yield upgraded(found, options.read(target).require_path("data_dir"))
    outside = [f"{d}.{t} ({e})" for d, t, e in client.rows(connection, _OUTSIDE)]
    hint = (
        "ALTER TABLE … ENGINE=InnoDB, then a full backup: only its tables have snapshots and "
        "survive a crash"
    )
    yield Check("all tables are InnoDB's", not outside, ", ".join(outside), hint)
    yield whole(connection)
    yield from exactness(flavor.of(connection), connection)
    here = members.standing(connection)
    yield Check("role", True, here.role)
    if here.role == "replica":
        yield from replica(here, found)
        yield resting(connection, found)
    else:
        yield from primary(target, connection, found)
        yield scheduled(connection, options.read(target).heartbeat_schema)


def settings(found: Mapping[str, str], kind: Flavor = MARIADB) -> Iterator[Check]:
    """Check the settings without which a backup, a replay or a crash would lose something."""
    for name, wanted in kind.wanted.items():
        value = found.get(name, "")
        yield Check(name, value == wanted, value, "run provision, then restart")


def upgraded(found: Mapping[str, str], data_dir: Path) -> Check:
    """Check that the system tables are of the server's series: MariaDB's unit upgrades none.

    A data directory that a restore made has no note of it.
    """
    noted = next((data_dir / name for name in _UPGRADED if (data_dir / name).is_file()), None)
    said = noted.read_text(encoding="utf-8", errors="replace").strip() if noted else ""
    here = found.get("version", "")
    detail = f"{said or 'of an unknown release'}, the server is {here}"
    ok = not said or series(said) == series(here)
    return Check("system tables are of this release", ok, detail, "run mariadb-upgrade as root")


def whole(connection: Connection) -> Check:
    """Check that no database is left out of the binary log, which replicas and restores need."""
    (end,) = client.records(connection, flavor.of(connection).log_end) or [{}]
    left = [f"{name} = {end[name]}" for name in _FILTERS if end.get(name)]
    hint = "remove the setting and restart, then take a full backup and rebuild the replicas"
    return Check("binary log leaves no database out", not left, ", ".join(left), hint)


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


def resting(connection: Connection, found: Mapping[str, str]) -> Check:
    """Check that no event runs on a replica."""
    able = found.get("event_scheduler", "") == "ON"
    on = [key for key, state in states(connection).items() if state == ON] if able else []
    detail = ", ".join(f"{schema}.{name}" for schema, name in on[:5])
    return Check("no event runs on a replica", not on, detail, "SET GLOBAL event_scheduler = OFF")


def scheduled(connection: Connection, schema: str) -> Check:
    """Check that what ran by itself on the former primary does so on this one."""
    off = list(events.stranded(connection, schema))
    detail = ", ".join(f"{name} (was {state or 'not written down'})" for name, state in off[:5])
    hint = "run replicate; ALTER EVENT … ENABLE or DISABLE what was not written down"
    return Check("events are as on the former primary", not off, detail, hint)


def primary(target: Target, connection: Connection, found: Mapping[str, str]) -> Iterator[Check]:
    """Check that the primary is open and that its replicas are connected."""
    value = found.get("read_only", "")
    yield Check("primary is open for writing", value == "OFF", value, "run replicate")
    dumps = client.value(connection, flavor.of(connection).readers)
    expected = len(target.members) - 1
    detail = f"{dumps} of {expected}"
    yield Check("replicas are connected", int(dumps) >= expected, detail, "run replicate")
