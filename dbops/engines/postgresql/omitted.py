"""What no fingerprint tells of, named: databases nobody can read, rows that are not in the log.

One line stands for all sequences of a database: what a sequence is, is compared, and its value on
two copies of one server differs (SEQ_LOG_VALS in sequence.c).
What is *not* here: temporary tables, which end with their session, and the system's own schemas.
"""

from __future__ import annotations

from collections.abc import Iterable

from dbops.engines.postgresql import tables
from dbops.engines.postgresql.client import Connection
from dbops.manifest import Omission

# -2 marks a database whose DROP was interrupted; nobody can connect to it (pg_database.h).
# template0 is what initdb makes, below the first object identifier of a user's.
_CLUSTER = """
SELECT datname, CASE
  WHEN datconnlimit = -2 THEN 'its removal was begun and never ended'
  WHEN NOT datallowconn THEN 'it takes no connections, so nothing can read it'
  ELSE 'the account of the backup may not connect to it' END
FROM pg_database
WHERE (datconnlimit = -2 OR NOT datallowconn
       OR datistemplate AND NOT has_database_privilege(oid, 'CONNECT'))
  AND NOT (datname = 'template0' AND oid < 16384)
ORDER BY datname"""
_TEMPLATES = "SELECT datname FROM pg_database WHERE datallowconn AND datistemplate ORDER BY datname"
_RELATIONS = """
SELECT n.nspname, c.relname, CASE
  WHEN c.relkind = 'f' THEN 'foreign table'
  WHEN c.relkind = 'S' THEN 'unlogged sequence' ELSE 'unlogged table' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind = 'f' OR c.relkind IN ('r', 'S') AND c.relpersistence = 'u')
ORDER BY n.nspname, c.relname"""
_SEQUENCES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'"""
_REASONS = {
    "foreign table": "its rows are on another server",
    "unlogged table": "its rows are not in the log and come back as none",
    "unlogged sequence": "its value is not in the log and begins anew",
}
_AHEAD = "how far they have counted differs by up to 32 steps, which the log runs ahead"
_VIEW = "a function of an ordinary role is in its index, and no query may call that"
_FORMER = "the fingerprint is of a former kind, without it"


def of_cluster(connection: Connection, algorithm: str = tables.ALGORITHM) -> tuple[Omission, ...]:
    """Return the databases of which a fingerprint by ``algorithm`` holds nothing."""
    found = [(str(name), str(why)) for name, why in connection.execute(_CLUSTER).fetchall()]
    if algorithm == tables.FORMER:
        named = {name for name, _ in found}
        templates = [str(row[0]) for row in connection.execute(_TEMPLATES).fetchall()]
        found += [(name, _FORMER) for name in templates if name not in (*named, "template1")]
    return tuple(
        Omission(database="", name=name, kind="database", reason=why) for name, why in found
    )


def of_database(
    connection: Connection,
    database: str,
    held: Iterable[tables.Table],
    algorithm: str = tables.ALGORITHM,
) -> tuple[Omission, ...]:
    """Return what is left out of one database, of whose tables ``held`` are read.

    To be asked in the snapshot that :func:`.tables.begin` opened.
    """
    found = [
        (f"{schema}.{name}", str(kind), _REASONS[kind])
        for schema, name, kind in connection.execute(_RELATIONS).fetchall()
    ]
    found += [
        (table.full_name, "materialized view", _VIEW)
        for table in held
        if table.kind == "m" and table.unplanned
    ]
    number = int(connection.execute(_SEQUENCES).fetchall()[0][0])
    if number:
        found.append((f"{number} sequence{'s' if number > 1 else ''}", "sequence state", _AHEAD))
    if algorithm == tables.FORMER and tables.large_objects(connection):
        found.append((tables.LARGE_OBJECTS, "table of large objects", _FORMER))
    return tuple(
        Omission(database=database, name=name, kind=kind, reason=why) for name, kind, why in found
    )
