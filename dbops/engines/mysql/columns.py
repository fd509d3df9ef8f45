"""From a table's columns to the statement that sums its rows, whatever their order.

Each row becomes one string in which no two different rows look alike: text goes with its length, a
missing value has a sign of its own. Two checksums of that string are multiplied and the products
added up; the product keeps values that merely changed places from cancelling out. Long values enter
by their own length and checksums, so that no row outgrows ``max_allowed_packet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbops.engines.mysql.client import name as quoted
from dbops.engines.mysql.client import sql

ALGORITHM = "mariadb-row-hash-1"

_NUMBERS = frozenset(("tinyint", "smallint", "mediumint", "int", "bigint"))
_TIMES = frozenset(("year", "date", "datetime", "timestamp", "time"))
_PLAIN = _NUMBERS | _TIMES | {"decimal", "double"}
_TEXT = frozenset(
    ("char", "varchar", "tinytext", "text", "binary", "varbinary", "tinyblob", "blob")
)
_ORDINAL = frozenset(("enum", "set"))
_TOTAL = (
    "SELECT COUNT(*), COALESCE(SUM(CRC32(@dbops_row:={row})*CRC32C(@dbops_row)),0) "
    "FROM {place}{where}"
)


@dataclass(frozen=True)
class Column:
    """One stored column; ``kind`` is its type without length."""

    name: str
    kind: str
    nullable: bool
    primary: bool = False


def row(columns: Sequence[Column]) -> str:
    """Return the expression of one row as a string; ``#`` alone for a table without columns."""
    heads: list[str] = []
    bodies: list[str] = []
    for column in columns:
        head, body = _parts(column)
        heads += head
        bodies += body
    fields = ",".join(("''", *heads, *bodies))
    return f"CONCAT_WS('#',{fields})"


def _parts(column: Column) -> tuple[list[str], list[str]]:
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
    return [], [length, _or_none(f"CRC32({value})", column), _or_none(f"CRC32C({value})", column)]


def _or_none(expression: str, column: Column) -> str:
    return f"COALESCE({expression},'N')" if column.nullable else expression


def total(place: str, columns: Sequence[Column], where: str = "") -> str:
    """Return the statement that gives rows and sum; a row too long is missing, with a warning."""
    return sql(_TOTAL, row=row(columns), place=place, where=where)


def divisible(columns: Sequence[Column]) -> str | None:
    """Return the one whole-numbered primary key column, by whose ranges a table can be read."""
    keys = [column for column in columns if column.primary]
    if len(keys) == 1 and keys[0].kind in _NUMBERS:
        return keys[0].name
    return None
