"""Tables that no query may be planned for, and how their rows are read all the same.

For every query on a table the planner simplifies the expressions of its indexes and statistics
objects, and to do so calls their immutable functions on constants, as whoever asks
(``get_relation_info`` in PostgreSQL's plancat.c). A role that owns a table could so run code as the
reader. ``COPY table TO`` makes no plan; it calls output functions only.
"""

from __future__ import annotations

from hashlib import blake2b

from psycopg import sql

from dbops.engines.postgresql.client import Connection

PREFIX = "copy-"
"""What the checksums that are made here begin with."""

# Functions, operators and domains that somebody other than a superuser made.
_RISKY = """
WITH made AS (
  SELECT oid FROM pg_roles WHERE NOT rolsuper
), code AS (
  SELECT p.oid FROM pg_proc p WHERE p.proowner IN (SELECT oid FROM made)
), used AS (
  SELECT 'pg_proc'::regclass AS class, oid FROM code
  UNION ALL
  SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprcode IN (SELECT oid FROM code)
  UNION ALL
  SELECT 'pg_type'::regclass, oid FROM pg_type
  WHERE typtype = 'd' AND typowner IN (SELECT oid FROM made)
), users AS (
  SELECT d.classid, d.objid FROM pg_depend d
  JOIN used ON used.class = d.refclassid AND used.oid = d.refobjid
)
SELECT i.indrelid::int8 FROM pg_index i
JOIN users u ON u.classid = 'pg_class'::regclass AND u.objid = i.indexrelid
UNION
SELECT s.stxrelid::int8 FROM pg_statistic_ext s
JOIN users u ON u.classid = 'pg_statistic_ext'::regclass AND u.objid = s.oid"""


def risky(connection: Connection) -> set[int]:
    """Return the tables whose indexes or statistics objects hold what a user wrote."""
    return {int(row[0]) for row in connection.execute(_RISKY).fetchall()}


def total(connection: Connection, table: sql.Identifier, kind: str) -> tuple[int, str]:
    """Return the rows of a table and the sum of a hash over them; psycopg.Error if unreadable.

    A materialized view (``kind`` m) cannot be copied: it is made of tables, and counts as empty.
    """
    rows, found = 0, 0
    if kind == "r":
        # As they are stored: no conversion can fail, and no checksum depends on who asks.
        query = sql.SQL("COPY {} TO STDOUT (ENCODING {})").format(
            table, sql.Literal(connection.info.parameter_status("server_encoding"))
        )
        with connection.cursor() as cursor, cursor.copy(query) as lines:
            for line in lines:  # one row each: PQgetCopyData
                rows += 1
                found += int.from_bytes(blake2b(line, digest_size=8).digest(), "big")
    return rows, PREFIX + format(found % (1 << 128), "032x")
