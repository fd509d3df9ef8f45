"""Names of tables, what a comparison leaves out, and sums that keep things apart."""

from __future__ import annotations

from datetime import UTC, datetime

from dbops.engines.redis import content
from dbops.manifest import DatabaseFingerprint, Fingerprint, TableFingerprint

NOON = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)


def test_where_one_part_ends_counts() -> None:
    assert content.digest(b"ab", b"c") != content.digest(b"a", b"bc")
    assert content.digest(b"") != content.digest()


def test_elements_in_order_are_kept_apart() -> None:
    one = content._in_order([(b"b", b"2"), (b"a", b"1")])
    assert one == content._in_order([(b"a", b"1"), (b"b", b"2")])
    assert one != content._in_order([(b"a", b"1b"), (b"", b"2")])
    assert one != content._in_order([(b"a",), (b"1",), (b"b",), (b"2",)])


def test_tables_by_the_hour_of_expiry() -> None:
    at = int(NOON.timestamp() * 1000)
    assert content.table_name("string", -1) == "string"
    assert content.table_name("string", at) == "string expiring 2026-01-02T12"
    assert content.table_name("hash", 2**62) == "hash expiring in another age"


def fingerprint(*names: str, database: str = "0") -> Fingerprint:
    """Return a fingerprint with one row in each of some tables."""
    tables = tuple(TableFingerprint(name=name, rows=1, checksum="0") for name in names)
    return Fingerprint(
        algorithm=content.ALGORITHM,
        point="",
        taken_at=NOON,
        seconds=0,
        bytes_read=0,
        databases=(DatabaseFingerprint(database=database, tables=tables),),
    )


def test_hours_that_have_begun_are_left_out() -> None:
    whole = fingerprint(
        "string",
        "string expiring 2026-01-02T11",
        "string expiring 2026-01-02T12",
        "string expiring 2026-01-02T13",
        "hash expiring in another age",
    )
    (database,) = content.settled(whole, NOON).databases
    assert [table.name for table in database.tables] == [
        "string",
        "string expiring 2026-01-02T13",
        "hash expiring in another age",
    ]


def test_a_database_in_which_all_has_expired_is_left_out() -> None:
    assert content.settled(fingerprint("set expiring 2026-01-02T12"), NOON).databases == ()
