"""What a cluster is beside its rows: functions, views, grants, roles and the rest of its catalogue.

A restore brings the system's catalogues back row by row, so they are compared as they are, inside
the snapshot that :func:`.tables.begin` opened. Which groups and columns there are is part of
:data:`.tables.ALGORITHM`: another choice needs another name. What is *not* here: columns that the
server changes in place, without a snapshot (``heap_inplace_update``), and secrets: stored
verifiers, the options of user mappings, subscriptions, whose connection texts hold passwords.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from psycopg import sql

from dbops.engines.postgresql.client import Connection
from dbops.manifest import DatabaseFingerprint, TableFingerprint

CLUSTER = "(whole cluster)"
_FIRST_OF_USERS = 16384  # FirstNormalObjectId in access/transam.h
_GROUPS = {
    "extensions and foreign data": (
        *("pg_extension", "pg_foreign_data_wrapper", "pg_foreign_server", "pg_foreign_table"),
        "pg_user_mapping",
    ),
    "functions and operators": (
        *("pg_proc", "pg_aggregate", "pg_language", "pg_cast", "pg_transform", "pg_operator"),
        *("pg_opclass", "pg_opfamily", "pg_amop", "pg_amproc", "pg_am"),
    ),
    "owners of large objects": ("pg_largeobject_metadata",),
    "publications": ("pg_publication", "pg_publication_rel", "pg_publication_namespace"),
    "relations and their grants": (
        *("pg_namespace", "pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index"),
        *("pg_inherits", "pg_partitioned_table", "pg_sequence", "pg_statistic_ext"),
        *("pg_default_acl", "pg_init_privs"),
    ),
    "triggers and policies": ("pg_trigger", "pg_event_trigger", "pg_policy"),
    "types and text search": (
        *("pg_type", "pg_enum", "pg_range", "pg_collation", "pg_conversion", "pg_ts_config"),
        *("pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template"),
    ),
    "views and rules": ("pg_rewrite",),
}
_CLUSTER_GROUPS = {
    "databases and tablespaces": ("pg_database", "pg_tablespace"),
    "roles and settings": (
        *("pg_authid", "pg_auth_members", "pg_db_role_setting", "pg_parameter_acl"),
    ),
}
_REST = "the system's own"
_LEFT_OUT = {
    "pg_attribute": {"attmissingval"},
    "pg_authid": {"rolpassword"},
    "pg_class": {
        *("relfilenode", "relpages", "reltuples", "relallvisible", "relallfrozen"),
        *("relfrozenxid", "relminmxid", "relhasindex", "relhasrules", "relhastriggers"),
        *("relhassubclass", "relrewrite"),
    },
    "pg_database": {"datfrozenxid", "datminmxid", "dathasloginevt"},
    "pg_index": {"indcheckxmin"},
    "pg_user_mapping": {"umoptions"},
}
# Of these the hash is one of all that the value is; of all others the text is taken.
_HASHED = ("bool", "char", "float4", "int2", "int4", "name", "oid", "text")
_COLUMNS = """
SELECT c.relname, a.attname, t.typname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (%s) AND a.attnum > 0
ORDER BY c.relname, a.attnum"""


def of_database(connection: Connection, database: str) -> DatabaseFingerprint:
    """Return the fingerprints of one database's catalogues, in groups.

    Of the rows those are counted that users made; what they changed of the system's is seen. The
    groups in which there is nothing of users are one together.
    """
    return DatabaseFingerprint(
        database=f"{database} (definitions)", tables=_read(connection, _GROUPS)
    )


def of_cluster(connection: Connection) -> DatabaseFingerprint:
    """Return the same of the catalogues that belong to the whole cluster."""
    return DatabaseFingerprint(database=CLUSTER, tables=_read(connection, _CLUSTER_GROUPS))


def _read(
    connection: Connection, groups: Mapping[str, tuple[str, ...]]
) -> tuple[TableFingerprint, ...]:
    names = [name for group in groups.values() for name in group]
    columns: dict[str, list[tuple[str, str]]] = {}
    for catalogue, column, kind in connection.execute(_COLUMNS, [names]).fetchall():
        columns.setdefault(catalogue, []).append((column, kind))
    parts = [_sum(catalogue, columns[catalogue]) for catalogue in sorted(columns)]
    found = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    made = {catalogue: int(number) for catalogue, _, number, _ in found}
    group_of = {catalogue: name for name, group in groups.items() for catalogue in group}
    used = {group_of[catalogue] for catalogue, number in made.items() if number}
    lines: dict[str, list[str]] = {}
    for catalogue, every, _, total in found:
        group = group_of[catalogue]
        lines.setdefault(group if group in used else _REST, []).append(
            f"{catalogue} {every} {total}"
        )
    return tuple(
        TableFingerprint(
            name=name,
            rows=sum(made[catalogue] for catalogue in groups.get(name, ()) if catalogue in made),
            checksum=hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:32],
        )
        for name, told in sorted(lines.items())
    )


def _sum(catalogue: str, columns: list[tuple[str, str]]) -> sql.Composed:
    kept = [one for one in columns if one[0] not in _LEFT_OUT.get(catalogue, ())]
    key = next(column for column, kind in columns if kind == "oid")
    return sql.SQL(
        "SELECT {}, count(*), count(*) FILTER (WHERE t.{} >= {}), "
        "coalesce(sum(hash_record_extended(ROW({}), 0)), 0) FROM {} AS t"
    ).format(
        sql.Literal(catalogue),
        sql.Identifier(key),
        sql.Literal(_FIRST_OF_USERS),
        sql.SQL(", ").join(_value(column, kind) for column, kind in kept),
        sql.Identifier("pg_catalog", catalogue),
    )


def _value(column: str, kind: str) -> sql.Composable:
    value = sql.Identifier("t", column)
    return value if kind in _HASHED else sql.SQL('{}::text COLLATE "C"').format(value)
