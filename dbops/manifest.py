"""Backup manifests and content fingerprints: what a restore is compared with.

A manifest is written beside each backup when the backup is complete, and read by everything that
comes later. What is *not* here: how an engine computes a fingerprint or stores a manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from dbops.targets import Model

Kind = Literal["full", "differential", "incremental", "log"]


class TableFingerprint(Model):
    """One table, collection or label: its name, its rows and an order-independent checksum.

    ``definition`` is a checksum over columns, constraints and indexes.
    """

    name: str
    rows: int
    checksum: str
    definition: str = ""


class DatabaseFingerprint(Model):
    """All tables of one database, at one consistency point."""

    database: str
    tables: tuple[TableFingerprint, ...]


class Omission(Model):
    """Content that a fingerprint says nothing about, so that no drill proves it.

    ``database`` is empty for what belongs to the whole cluster. ``kind`` is the engine's word for
    what was left out, in the singular ("unlogged table"), and ``reason`` a clause that says why.
    """

    database: str
    name: str
    kind: str
    reason: str


class Fingerprint(Model):
    """The content of a cluster at one point of its log.

    ``point`` is the engine's own name for the position (an LSN, a GTID set, …) and ``timeline`` its
    history where the engine has one. Restoring to exactly this point must give equal content.
    ``omitted`` names what exists there and was not read.
    """

    algorithm: str
    point: str
    timeline: int | None = None
    taken_at: datetime
    seconds: float
    bytes_read: int
    databases: tuple[DatabaseFingerprint, ...]
    omitted: tuple[Omission, ...] = ()

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(table.rows for db in self.databases for table in db.tables)


class Manifest(Model):
    """What is known about one backup. Times are UTC; sizes are bytes.

    ``fingerprints`` is empty when none was asked for; more than one stand for databases that could
    only be read at different points. Their points are never before the backup's own stop point.
    ``automatic`` says that dbops took it of its own accord, ``accepted`` that a person said that so
    little data is right.
    """

    schema_version: Literal[1] = 1
    engine: str
    version: str
    cluster: str
    member: str
    backup_id: str
    kind: Kind
    parent_id: str | None
    start: datetime
    stop: datetime
    start_point: str
    stop_point: str
    bytes_read: int
    bytes_stored: int
    encrypted: bool
    tool: str
    tool_version: str
    dbops_version: str
    fingerprints: tuple[Fingerprint, ...] = ()
    automatic: bool = False
    accepted: bool = False

    @model_serializer(mode="wrap")
    def _said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Left out where false, as versions before them did not know them.
        data: dict[str, Any] = write(self)
        unsaid = {"automatic", "accepted"}
        return {key: value for key, value in data.items() if value or key not in unsaid}


class Difference(Model):
    """One place where restored content is not what the fingerprint says."""

    database: str
    table: str
    what: Literal["missing table", "unexpected table", "rows", "content", "definition"]
    expected: str
    found: str


def omissions(*parts: Iterable[Omission]) -> list[Omission]:
    """Return what several fingerprints left out, each once, in order."""
    every = {(one.database, one.name, one.kind): one for part in parts for one in part}
    return [every[key] for key in sorted(every)]


def omission_words(omitted: Iterable[Omission]) -> str:
    """Return what was left out, counted by its kind (``2 unlogged tables``); empty for nothing."""
    kinds = Counter(one.kind for one in omitted)
    return ", ".join(
        f"{number:,} {kind}{'s' if number > 1 else ''}" for kind, number in sorted(kinds.items())
    )


def compare(expected: Fingerprint, found: Fingerprint) -> list[Difference]:
    """Return every difference between two fingerprints of the same algorithm, none when equal.

    A database missing altogether is reported as each of its tables missing, or as ``*`` when it had
    none.
    """
    differences: list[Difference] = []
    found_by_name = {db.database: db for db in found.databases}
    for database in expected.databases:
        there = found_by_name.get(database.database)
        if there is None and not database.tables:
            differences.append(
                Difference(
                    database=database.database,
                    table="*",
                    what="missing table",
                    expected="the database",
                    found="none",
                )
            )
        differences += _compare_tables(database, there)
    known = {database.database for database in expected.databases}
    for database in found.databases:
        if database.database not in known:
            empty = DatabaseFingerprint(database=database.database, tables=())
            differences += _compare_tables(empty, database)
    return differences


def _compare_tables(
    expected: DatabaseFingerprint, found: DatabaseFingerprint | None
) -> list[Difference]:
    left = {table.name: table for table in expected.tables}
    right = {table.name: table for table in found.tables} if found else {}
    differences: list[Difference] = []

    def differ(name: str, what: str, was: str, is_now: str) -> None:
        differences.append(
            Difference.model_validate(
                {
                    "database": expected.database,
                    "table": name,
                    "what": what,
                    "expected": was,
                    "found": is_now,
                }
            )
        )

    for name in sorted(left.keys() | right.keys()):
        was, now = left.get(name), right.get(name)
        if now is None:
            assert was is not None
            differ(name, "missing table", f"{was.rows} rows", "none")
        elif was is None:
            differ(name, "unexpected table", "none", f"{now.rows} rows")
        elif was.rows != now.rows:
            differ(name, "rows", str(was.rows), str(now.rows))
        elif was.checksum != now.checksum:
            differ(name, "content", was.checksum, now.checksum)
        elif was.definition != now.definition:
            differ(name, "definition", was.definition, now.definition)
    return differences
