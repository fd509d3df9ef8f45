"""Fingerprints: every kind of difference is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dbops.manifest import DatabaseFingerprint, Fingerprint, TableFingerprint, compare


def fingerprint(**databases: list[tuple[str, int, str, str]]) -> Fingerprint:
    return Fingerprint(
        algorithm="x",
        point="1",
        taken_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1,
        bytes_read=1,
        databases=tuple(
            DatabaseFingerprint(
                database=name,
                tables=tuple(
                    TableFingerprint(name=t, rows=rows, checksum=checksum, definition=definition)
                    for t, rows, checksum, definition in tables
                ),
            )
            for name, tables in databases.items()
        ),
    )


BASE = fingerprint(app=[("t", 2, "aa", "d"), ("u", 0, "", "d")])


def test_equal_content_has_no_difference() -> None:
    assert compare(BASE, BASE.model_copy(update={"point": "2"})) == []


@pytest.mark.parametrize(
    ("found", "what", "table"),
    [
        (fingerprint(app=[("t", 2, "aa", "d")]), "missing table", "u"),
        (fingerprint(app=[("t", 1, "aa", "d"), ("u", 0, "", "d")]), "rows", "t"),
        (fingerprint(app=[("t", 2, "ab", "d"), ("u", 0, "", "d")]), "content", "t"),
        (fingerprint(app=[("t", 2, "aa", "e"), ("u", 0, "", "d")]), "definition", "t"),
        (
            fingerprint(app=[("t", 2, "aa", "d"), ("u", 0, "", "d"), ("v", 1, "a", "d")]),
            "unexpected table",
            "v",
        ),
        (
            fingerprint(app=[("t", 2, "aa", "d"), ("u", 0, "", "d")], more=[("w", 1, "a", "d")]),
            "unexpected table",
            "w",
        ),
    ],
)
def test_each_difference_is_named(found: Fingerprint, what: str, table: str) -> None:
    differences = compare(BASE, found)
    assert [(one.what, one.table) for one in differences] == [(what, table)]


def test_missing_database() -> None:
    assert {one.what for one in compare(BASE, fingerprint())} == {"missing table"}
    empty = compare(fingerprint(app=[]), fingerprint())
    assert [(one.database, one.table) for one in empty] == [("app", "*")]


def test_rows_are_summed() -> None:
    assert BASE.rows == 2
