"""The content of one database inside one snapshot: rows, checksum and definition of each table.

A table's checksum is the sum of a 64-bit hash over its rows, so neither order nor place matters.
Counted are ordinary tables, leaf partitions, filled materialized views and large objects; not
counted are unlogged and temporary tables, sequences and the system's own schemas. What of that is
named as left out: see :mod:`.omitted`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from dbops.engines.postgresql import unplanned
from dbops.engines.postgresql.client import Connection, reason
from dbops.errors import CommandFailed
from dbops.manifest import DatabaseFingerprint, TableFingerprint

ALGORITHM = "postgresql-row-hash-2"
FORMER = "postgresql-row-hash-1"
"""Of backups of earlier versions: without large objects and template databases."""
LARGE_OBJECTS = "pg_catalog.pg_largeobject"

_SETTINGS = (
    "SET LOCAL search_path = pg_catalog",
    "SET LOCAL row_security = off",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL lock_timeout = '2s'",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL jit = off",
    "SET LOCAL constraint_exclusion = off",
    "SET LOCAL quote_all_identifiers = off",
    "SET LOCAL max_parallel_workers_per_gather = 2",
)
# Of money's text, and of literals in definitions. The former algorithm took a database's own.
_SETTINGS_SINCE = (
    "SET LOCAL lc_monetary = 'C'",
    "SET LOCAL standard_conforming_strings = on",
)
# Only from version 17 on.
_NO_LIMIT = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'"""

_TABLES = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text, c.relfilenode::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_)'
ORDER BY n.nspname, c.relname"""

_LARGE_OBJECTS = """
SELECT oid::int8, 'pg_catalog', relname, 'r', pg_relation_filenode(oid)::int8
FROM pg_class WHERE oid = 'pg_catalog.pg_largeobject'::regclass"""

_COLUMNS = """
SELECT a.attrelid::int8, a.attname, tn.nspname, t.typname, t.typtype::text, a.atttypmod,
       coalesce(co.collisdeterministic, true),
       format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attidentity::text, a.attgenerated::text,
       co.collname, pg_get_expr(d.adbin, d.adrelid), a.atttypid::int8
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum"""

_DOMAINS = """
SELECT d.oid::int8, b.oid::int8, n.nspname FROM pg_type d
JOIN pg_type b ON b.oid = d.typbasetype JOIN pg_namespace n ON n.oid = b.typnamespace
WHERE d.typtype = 'd'"""

_PARTS = """
SELECT conrelid::int8, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = ANY(%s) AND contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT indrelid::int8, '', pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY(%s) AND indisvalid
ORDER BY 1, 2, 3"""

_ROW_LIMIT = 1664  # entries of a ROW(), MaxTupleAttributeNumber in htup_details.h
# Without a hash in any version: asking the server would leave an error in its log each time.
_UNHASHED = {
    "json",
    "xml",
    "point",
    "box",
    "circle",
    "line",
    "lseg",
    "path",
    "polygon",
    "tsvector",
    "tsquery",
    "bit",
    "varbit",
    "money",
}


class MovedError(Exception):
    """The snapshot no longer holds for some table, because it was rewritten or is locked."""


@dataclass(frozen=True)
class Table:
    """One table as the snapshot's catalogue names it; ``kind`` is PostgreSQL's relkind.

    ``unplanned`` says that no query on it may be planned: see :mod:`.unplanned`.
    """

    oid: int
    schema: str
    name: str
    kind: str
    file_node: int
    unplanned: bool = False

    @property
    def full_name(self) -> str:
        """The name with its schema, as a fingerprint has it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name with its schema."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class _Column:
    name: str
    type_schema: str
    type_name: str
    type_kind: str
    type_modifier: int
    deterministic: bool
    definition: tuple[Any, ...]
    base_schema: str

    @property
    def own(self) -> bool:
        """Whether the type is a user's base type or domain, whose ``=`` may be anything."""
        return self.type_schema != "pg_catalog" and self.type_kind in ("b", "d")


def begin(
    connection: Connection,
    snapshot: str | None = None,
    leave_out: str = "",
    planned: Collection[str] = (),
    algorithm: str = ALGORITHM,
) -> list[Table]:
    """Open a read-only snapshot, hold every table against being rewritten, and name the tables.

    ``snapshot`` is one exported by another session, ``leave_out`` a schema that does not count.
    ``planned`` are tables that are read by a query whatever is in their indexes, which is for a
    server in a cell only: their former checksums were made so. ``algorithm`` is :data:`ALGORITHM`
    or :data:`FORMER`.
    Raises MovedError when a table was rewritten since the snapshot or cannot be held now: roll back
    and begin anew.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if snapshot is not None:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    since = algorithm != FORMER
    connection.execute("; ".join(_SETTINGS + (_SETTINGS_SINCE if since else ())))
    connection.execute(_NO_LIMIT)
    risky = unplanned.risky(connection)
    found = [Table(*row) for row in connection.execute(_TABLES).fetchall()]
    if since:
        found += [Table(*row) for row in connection.execute(_LARGE_OBJECTS).fetchall()]
    tables = [
        replace(table, unplanned=table.oid in risky and table.full_name not in planned)
        for table in found
        if table.schema != leave_out
    ]
    try:
        _hold(connection, tables)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
        raise MovedError from None
    return tables


def _hold(connection: Connection, tables: Sequence[Table]) -> None:
    """Lock, because TRUNCATE and ALTER TABLE would empty a table even under an older snapshot."""
    lockable = [sql.SQL("ONLY {}").format(t.identifier) for t in tables if t.kind == "r"]
    if lockable:
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(lockable))
        )
    for table in tables:
        if table.kind == "m" and not table.unplanned:
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(table.identifier))
    now: dict[int, int | None] = dict(
        connection.execute(
            "SELECT oid::int8, pg_relation_filenode(oid::regclass)::int8 "
            "FROM unnest(%s::oid[]) AS t(oid)",
            [[table.oid for table in tables]],
        ).fetchall()
    )
    if any(now.get(table.oid) != table.file_node for table in tables):
        raise MovedError


def digest(
    connection: Connection, database: str, tables: Sequence[Table]
) -> tuple[DatabaseFingerprint, int]:
    """Read every table in the snapshot that :func:`begin` opened; return it and the bytes read.

    The table of large objects is left out where it is empty.
    Raises CommandFailed naming the table that cannot be read whole.
    """
    oids = [table.oid for table in tables]
    columns: dict[int, list[_Column]] = {oid: [] for oid in oids}
    domains = {row[0]: (row[1], row[2]) for row in connection.execute(_DOMAINS).fetchall()}
    for oid, name, schema, kind, sort, modifier, plain, *rest, type_oid in connection.execute(
        _COLUMNS, [oids]
    ).fetchall():
        base = _base_schema(type_oid, schema, domains)
        columns[oid].append(_Column(name, schema, kind, sort, modifier, plain, tuple(rest), base))
    parts: dict[int, list[str]] = {oid: [] for oid in oids}
    for oid, name, text in connection.execute(_PARTS, [oids, oids]).fetchall():
        parts[oid].append(f"{name} {text}")
    hashable = _hashable_types(connection, [c for group in columns.values() for c in group])
    done: list[TableFingerprint] = []
    size = 0
    for table in tables:
        rows, checksum = _sum(connection, database, table, columns[table.oid], hashable)
        if not rows and table.full_name == LARGE_OBJECTS:
            continue
        found = connection.execute("SELECT pg_table_size(%s::oid)", [table.oid]).fetchone()
        size += int(found[0] or 0) if found else 0
        done.append(
            TableFingerprint(
                name=table.full_name,
                rows=rows,
                checksum=checksum,
                definition=_definition(table, columns[table.oid], parts[table.oid]),
            )
        )
    return DatabaseFingerprint(database=database, tables=tuple(done)), size


def any_there(connection: Connection) -> bool:
    """Tell whether the database holds any table that counts, or large objects."""
    return bool(connection.execute(_TABLES).fetchall()) or large_objects(connection)


def large_objects(connection: Connection) -> bool:
    """Tell whether the database holds any large object."""
    return bool(connection.execute("SELECT FROM pg_largeobject_metadata LIMIT 1").fetchall())


def _base_schema(type_oid: int, schema: str, domains: dict[int, tuple[int, str]]) -> str:
    """Return the schema of the type that a domain stands for in the end, else the type's own."""
    while type_oid in domains:
        type_oid, schema = domains[type_oid]
    return schema


def _sum(
    connection: Connection,
    database: str,
    table: Table,
    columns: Sequence[_Column],
    hashable: set[tuple[str, str]],
) -> tuple[int, str]:
    fields = [field for column in columns for field in _fields(column, hashable)]
    query = sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {} {} AS t").format(
        _row_hash(fields), sql.SQL("ONLY" if table.kind == "r" else ""), table.identifier
    )
    try:
        if table.unplanned:
            return unplanned.total(connection, table.identifier, table.kind)
        row = connection.execute(query).fetchall()[0]
    except psycopg.Error as error:
        raise CommandFailed(
            f"Table {table.full_name} of database {database!r} cannot be read whole for "
            f"the fingerprint: {reason(error)}."
        ) from None
    return int(row[0]), format(int(row[1]) % (1 << 128), "032x")


def _row_hash(fields: Sequence[sql.Composable]) -> sql.Composable:
    """Return a hash over all fields of a row, in as many parts as ROW() takes.

    Each part begins with the hash of those before. That enters as a seed, which the hash of a NULL
    passes over, so a constant comes first.
    """
    one = sql.SQL("hash_record_extended(ROW({}), {})")
    if len(fields) <= _ROW_LIMIT:
        listed = sql.SQL(", ").join(fields)
        return one.format(listed, sql.SQL("0")) if fields else sql.SQL("0::int8")
    found: sql.Composable = sql.SQL("0")
    for first in range(0, len(fields), _ROW_LIMIT - 1):
        part = (sql.SQL("0"), *fields[first : first + _ROW_LIMIT - 1])
        found = one.format(sql.SQL(", ").join(part), found)
    return found


def _fields(column: _Column, hashable: set[tuple[str, str]]) -> list[sql.Composable]:
    """Return what of a column enters the hash, so that values that differ at all hash apart.

    The hashes of PostgreSQL follow its ``=``: 1.0 equals 1.00, citext ignores case, and int8
    folds its halves together. Those are made to differ here.
    """
    value = sql.Identifier("t", column.name)
    kind = (column.type_schema, column.type_name)
    loose = kind == ("pg_catalog", "numeric") and column.type_modifier == -1
    if kind not in hashable or column.own or loose:
        return [_text(value, column)]
    if not column.deterministic:
        return [sql.SQL('{} COLLATE "C"').format(value)]
    if kind == ("pg_catalog", "int8"):
        return [value, sql.SQL("({} >> 32)::int4").format(value)]
    return [value]


def _text(value: sql.Identifier, column: _Column) -> sql.Composable:
    """Return a value's text as the type's own output function writes it.

    A cast is looked up by name, and whoever owns a type may have made one, which then runs as the
    reader (sql-createcast.html); format() calls output functions only, and those are superusers'.
    Casts between types of pg_catalog are superusers', too, and differ from the output for some.
    """
    if column.base_schema == "pg_catalog":
        return sql.SQL('{}::text COLLATE "C"').format(value)
    return sql.SQL(
        "(CASE WHEN num_nulls({0}) = 0 THEN format('%s', {0}) END) COLLATE \"C\""
    ).format(value)


def _hashable_types(connection: Connection, columns: Sequence[_Column]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    # Never a domain: making a NULL of it calls the functions of its constraints.
    kinds = {(column.type_schema, column.type_name) for column in columns if not column.own}
    for kind in sorted(kinds):
        if kind[0] == "pg_catalog" and kind[1].removeprefix("_") in _UNHASHED:
            continue
        connection.execute("SAVEPOINT probe")
        try:
            connection.execute(
                sql.SQL("SELECT hash_record_extended(ROW(NULL::{}), 0)").format(
                    sql.Identifier(*kind)
                )
            )
            found.add(kind)
        except psycopg.errors.UndefinedFunction:
            connection.execute("ROLLBACK TO SAVEPOINT probe")
        connection.execute("RELEASE SAVEPOINT probe")
    return found


def _definition(table: Table, columns: Sequence[_Column], parts: Sequence[str]) -> str:
    lines = [table.kind, *(repr((c.name, c.definition)) for c in columns), *sorted(parts)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
