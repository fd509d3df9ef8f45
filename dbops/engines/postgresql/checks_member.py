"""The checks of a host that serves the data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.postgresql import client, pgbackrest
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options, unfinished
from dbops.targets import Target

_SETTINGS = (
    "SELECT current_setting('wal_level'), current_setting('archive_mode'), "
    "current_setting('data_checksums'), pg_is_in_recovery()"
)
_ARCHIVER = (
    "SELECT last_archived_wal, last_archived_time, last_failed_wal, last_failed_time, "
    "clock_timestamp() - pg_postmaster_start_time() FROM pg_stat_archiver"
)
_SLOTS = (
    "SELECT slot_name, active, coalesce(wal_status, 'unknown') FROM pg_replication_slots "
    "WHERE slot_type = 'physical' ORDER BY slot_name"
)
_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
_TABLESPACES = """
SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace
WHERE spcname !~ '^pg_' ORDER BY spcname"""
_RECEIVER = "SELECT status FROM pg_stat_wal_receiver"


def server(target: Target, opts: Options, connection: Connection) -> Iterator[Check]:
    """Yield what the server itself says: settings, archiver, slots, replication."""
    wal_level, archive_mode, checksums, standby = _row(connection, _SETTINGS)
    yield Check("wal_level", wal_level == "logical", wal_level, "run provision, then restart")
    yield Check("archive_mode", archive_mode != "off", archive_mode, "run backup, then restart")
    yield Check("data checksums", checksums == "on", checksums, "enable them with pg_checksums")
    yield _archive_command(opts, connection)
    yield Check("role", True, "standby" if standby else "primary")
    if standby:
        yield from _standby(connection)
    else:
        yield archiver(connection, target.objectives.rpo_seconds)
        yield from _primary(target, connection)


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    return connection.execute(query).fetchall()[0]


def _archive_command(opts: Options, connection: Connection) -> Check:
    text = str(_row(connection, "SELECT current_setting('archive_command')")[0])
    ok = "pgbackrest" in text and "archive-push" in text and opts.stanza in text
    return Check(
        "archive_command", ok, text, "run the backup play to set pgBackRest's archive-push"
    )


def archiver(connection: Connection, rpo_seconds: float) -> Check:
    """Check that archiving goes on, and that the newest segment is not older than promised."""
    name = "archiver works"
    wal, last, failed_wal, failed, up = _row(connection, _ARCHIVER)
    limit = lines.log_limit(rpo_seconds)
    hint = "look at dbops-heartbeat on the primary, then at the server's and pgBackRest's log"
    if failed is not None and (last is None or failed > last):
        return Check(name, False, f"{failed_wal} failed at {failed:%Y-%m-%dT%H:%M:%SZ}", hint)
    if last is None:
        young = bool(up.total_seconds() <= limit)
        return Check(name, young, "nothing was archived since statistics began", hint)
    age = (datetime.now(UTC) - last).total_seconds()
    detail = f"{wal} {age:.0f} s ago"
    return Check(name, age <= limit, detail, hint)


def _primary(target: Target, connection: Connection) -> Iterator[Check]:
    expected = len(target.members) - 1
    streaming = int(_row(connection, _STREAMING)[0])
    detail = f"{streaming} of {expected}"
    yield Check("standbys stream", streaming >= expected, detail, "run replicate")
    slots = connection.execute(_SLOTS).fetchall()
    bad = [f"{n} ({'active' if a else 'idle'}, {s})" for n, a, s in slots if not a or s == "lost"]
    text = ", ".join(bad) or f"{len(slots)} active"
    yield Check("replication slots", not bad, text, "run replicate, or drop a slot without standby")


def _standby(connection: Connection) -> Iterator[Check]:
    rows = connection.execute(_RECEIVER).fetchall()
    status = str(rows[0][0]) if rows else "nothing received"
    yield Check(
        "standby receives", status == "streaming", status, "look at the link to the primary"
    )
    state = str(_row(connection, "SELECT pg_get_wal_replay_pause_state()")[0])
    hint = "a killed backup may have left it: SELECT pg_wal_replay_resume()"
    yield Check("replay is not paused", state == "not paused", state, hint)


def data(opts: Options) -> Iterator[Check]:
    """Yield whether the data directory is whole, and can be put back as a whole."""
    place = opts.require_path("data_dir")
    began = os.path.lexists(unfinished(place))
    words = "a copy of the primary to it began and did not end" if began else ""
    hint = "run playbooks/replicate.yml with -e dbops_replicate_rebuild= and this member"
    yield Check("data directory is whole", not began, words, hint)
    with client.connect(opts, database="postgres", user=opts.monitor_user) as connection:
        found = [f"{name} in {path}" for name, path in connection.execute(_TABLESPACES).fetchall()]
    hint = (
        "a restore in place is refused, and a rebuild wants an empty directory: "
        "move what is in them to pg_default with ALTER TABLE, and drop them"
    )
    yield Check("no tablespace is outside", not found, ", ".join(found), hint)


def stanza(target: Target, opts: Options) -> Iterator[Check]:
    """Yield whether the repository is this cluster's."""
    found = pgbackrest.info(opts)
    match = found.version == target.version
    hint = "run 'pgbackrest stanza-upgrade' on the repository host"
    yield Check("stanza's version", match, f"PostgreSQL {found.version}", hint)
    with client.connect(opts, database="postgres", user=opts.monitor_user) as connection:
        try:
            here = int(_row(connection, "SELECT system_identifier FROM pg_control_system()")[0])
        except psycopg.Error as error:
            yield Check("system identifier", False, client.reason(error), "grant pg_monitor")
            return
    detail = f"server {here}, repository {found.system_id}"
    yield Check("system identifier", here == found.system_id, detail, "this is another cluster")
