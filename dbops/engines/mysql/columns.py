"""From a table's columns to the statement that sums its rows, whatever their order.

Each row becomes one string in which no two different rows look alike: text goes with its length, a
missing value has a sign of its own. MariaDB multiplies two checksums of that string and adds the
products up; a product keeps values that merely changed places from cancelling out. MySQL adds up
digests. Long values enter by their own length and checksums, so that no row outgrows
``max_allowed_packet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbops.engines.mysql.client import name as quoted
from dbops.engines.mysql.client import sql

_NUMBERS = frozenset(("tinyint", "smallint", "mediumint", "int", "bigint"))
_TIMES = frozenset(("year", "date", "datetime", "timestamp", "time"))
_PLAIN = _NUMBERS | _TIMES | {"decimal", "double"}
_TEXT = frozenset(
    ("char", "varchar", "tinytext", "text", "binary", "varbinary", "tinyblob", "blob")
)
_ORDINAL = frozenset(("enum", "set"))
_TOTAL = "SELECT COUNT(*), COALESCE(SUM({sum}),0) FROM {place}{where}"


@dataclass(frozen=True)
class Summing:
    """How a flavour sums: a row's share, and the checksums that stand for a long value."""

    algorithm: str
    share: str
    long: tuple[str, ...]


MARIADB = Summing(
    "mariadb-row-hash-1",
    "CRC32(@dbops_row:={row})*CRC32C(@dbops_row)",
    ("CRC32({value})", "CRC32C({value})"),
)
# MySQL has one CRC only: a share is the first 60 bits of a digest.
MYSQL = Summing(
    "mysql-row-hash-1",
    "CAST(CONV(LEFT(SHA2({row},256),15),16,10) AS UNSIGNED)",
    ("SHA2({value},256)",),
)


@dataclass(frozen=True)
class Column:
    """One stored column; ``kind`` is its type without length."""

    name: str
    kind: str
    nullable: bool
    primary: bool = False


def row(columns: Sequence[Column], summing: Summing = MARIADB) -> str:
    """Return the expression of one row as a string; ``#`` alone for a table without columns."""
    heads: list[str] = []
    bodies: list[str] = []
    for column in columns:
        head, body = _parts(column, summing)
        heads += head
        bodies += body
    fields = ",".join(("''", *heads, *bodies))
    return f"CONCAT_WS('#',{fields})"


def _parts(column: Column, summing: Summing) -> tuple[list[str], list[str]]:
    value = quoted(column.name)
    if column.kind in _PLAIN:
        return [], [_or_none(value, column)]
    if column.kind == "float":
        return [], [_or_none(f"{value}+0e0", column)]
    if column.kind in _ORDINAL:
        return [], [_or_none(f"{value}+0", column)]
    if column.kind == "bit":
        return [], [_or_none(f"HEX({value})", column)]
    length = _or_none(f"LENGTH({value})", column)
    if column.kind in _TEXT:
        return [length], [f"CAST({value} AS BINARY)"]
    # Everything else may be long, and the checksums read a value of any length.
    return [], [length, *(_or_none(sql(one, value=value), column) for one in summing.long)]


def _or_none(expression: str, column: Column) -> str:
    return f"COALESCE({expression},'N')" if column.nullable else expression


def total(
    place: str, columns: Sequence[Column], where: str = "", summing: Summing = MARIADB
) -> str:
    """Return the statement that gives rows and sum; a row too long is missing, with a warning."""
    share = sql(summing.share, row=row(columns, summing))
    return sql(_TOTAL, sum=share, place=place, where=where)


def divisible(columns: Sequence[Column]) -> str | None:
    """Return the one whole-numbered primary key column, by whose ranges a table can be read."""
    keys = [column for column in columns if column.primary]
    if len(keys) == 1 and keys[0].kind in _NUMBERS:
        return keys[0].name
    return None
