"""What is: roles, databases and privileges read from the system catalogue. Only SELECT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from . import acl
from .names import PUBLIC, AccessError, shown

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, order=True)
class Target:
    """What a privilege is on. ``detail`` is a function's argument types or a column's name.

    For a default privilege the kind starts with ``default``, the name is the role whose new objects
    it is for, and an empty schema means every schema.
    """

    kind: str
    schema: str
    name: str
    detail: str = ""


@dataclass(frozen=True, order=True)
class Held:
    """One privilege that is there. ``kept`` ones came with the system or with an extension."""

    target: Target
    grantee: str
    privilege: str
    grantable: bool
    grantor: str
    owner: str
    kept: bool = False


@dataclass(frozen=True)
class Membership:
    """``member`` is in ``role``."""

    role: str
    member: str
    grantor: str
    admin: bool
    inherit: bool = True
    set: bool = True


@dataclass(frozen=True)
class RoleNow:
    """A role that is there. ``settings`` maps a database, or "" for all, to its settings."""

    name: str
    flags: Mapping[str, bool]
    connection_limit: int = -1
    valid_until: str | None = None
    verifier: str | None = field(default=None, repr=False)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    untouchable: bool = False


@dataclass(frozen=True)
class ClusterNow:
    """Roles and databases of the server; ``version`` is the major one."""

    version: int
    roles: Mapping[str, RoleNow]
    memberships: tuple[Membership, ...]
    databases: Mapping[str, DatabaseNow]


@dataclass(frozen=True)
class DatabaseNow:
    """A database as the whole server sees it."""

    name: str
    owner: str
    encoding: str = "UTF8"
    lc_collate: str = "C"
    lc_ctype: str = "C"
    connection_limit: int = -1
    allows_connections: bool = True


@dataclass(frozen=True)
class Contents:
    """What is in one database, or belongs to the whole server.

    ``available`` maps an extension to the schema it insists on; ``others`` holds owners of what is
    neither schema nor relation nor function, and whether an extension made it.
    """

    extensions: frozenset[str]
    available: Mapping[str, str | None]
    schemas: Mapping[str, str]
    relations: Mapping[tuple[str, str], tuple[str, str, bool]]
    columns: frozenset[tuple[str, str, str]]
    functions: Mapping[Target, tuple[str, bool]]
    signatures: Mapping[str, Target]
    held: tuple[Held, ...]
    others: Mapping[Target, tuple[str, bool]] = field(default_factory=dict)


ROLES = """
SELECT rolname AS name, rolcanlogin AS login, rolsuper AS superuser, rolcreatedb AS createdb,
       rolcreaterole AS createrole, rolreplication AS replication, rolbypassrls AS bypassrls,
       rolinherit AS inherit, rolconnlimit AS connection_limit, rolpassword AS verifier,
       nullif(rolvaliduntil, 'infinity')::text AS valid_until,
       oid = 10 OR rolname = session_user AS untouchable
FROM pg_authid
"""
SETTINGS = """
SELECT r.rolname AS role, coalesce(d.datname, '') AS database, s.setconfig AS settings
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
"""
MEMBERSHIPS = """
SELECT r.rolname AS role, m.rolname AS member, coalesce(g.rolname, '') AS grantor,
       a.admin_option AS admin{options}
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
LEFT JOIN pg_roles g ON g.oid = a.grantor
"""
DATABASES = """
SELECT d.datname AS name, r.rolname AS owner, pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS lc_collate, d.datctype AS lc_ctype, d.datconnlimit AS connection_limit,
       d.datallowconn AS allows_connections
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
"""
RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, w.rolname AS owner,
       CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
       EXISTS (SELECT FROM pg_depend x WHERE x.classid = c.tableoid AND x.objid = c.oid
               AND x.deptype = 'e') AS member
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles w ON w.oid = c.relowner
WHERE c.relkind IN ('r','p','v','m','f','S') AND n.nspname = ANY(%s)
"""
COLUMNS = """
SELECT n.nspname, c.relname, a.attname
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname = ANY(%s)
"""
FUNCTIONS = """
SELECT n.nspname AS schema, p.proname AS name, w.rolname AS owner,
       (SELECT coalesce(string_agg(format_type(t, NULL), ', ' ORDER BY i), '')
        FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, i)) AS detail,
       EXISTS (SELECT FROM pg_depend x WHERE x.classid = p.tableoid AND x.objid = p.oid
               AND x.deptype = 'e') AS member
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles w ON w.oid = p.proowner
WHERE n.nspname = ANY(%s) OR p.oid = ANY(%s)
"""
HOLDERS = """
SELECT r.rolname,
       EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid) AS connected,
       EXISTS (SELECT FROM pg_shdepend d
               WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                 AND (d.deptype <> 'a'
                      OR d.dbid <> 0 AND d.dbid NOT IN (SELECT oid FROM pg_database
                                                        WHERE datname = ANY(%(managed)s))
                      OR d.classid = 'pg_database'::regclass
                        AND d.objid NOT IN (SELECT oid FROM pg_database
                                            WHERE datname = ANY(%(managed)s)))) AS holding
FROM pg_roles r WHERE r.rolname = ANY(%(roles)s) ORDER BY 1
"""


def _rows(connection: Connection, query: str, parameters: Any = None) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()


def read_cluster(connection: Connection, flags: Iterable[str]) -> ClusterNow:
    """Read roles, memberships and databases."""
    version = connection.info.server_version // 10000
    options = ", a.inherit_option AS inherit, a.set_option AS set" if version >= 16 else ""
    settings: dict[str, dict[str, dict[str, str]]] = {}
    for row in _rows(connection, SETTINGS):
        pairs = (entry.split("=", 1) for entry in row["settings"])
        settings.setdefault(row["role"], {})[row["database"]] = dict(pairs)
    roles = {
        row["name"]: RoleNow(
            name=row["name"],
            flags={flag: row[flag] for flag in flags},
            connection_limit=row["connection_limit"],
            valid_until=row["valid_until"],
            verifier=row["verifier"],
            settings=settings.get(row["name"], {}),
            untouchable=row["untouchable"],
        )
        for row in _rows(connection, ROLES)
    }
    memberships = _rows(connection, MEMBERSHIPS.format(options=options))
    databases = _rows(connection, DATABASES)
    return ClusterNow(
        version=version,
        roles=roles,
        memberships=tuple(Membership(**row) for row in memberships),
        databases={row["name"]: DatabaseNow(**row) for row in databases},
    )


def read_moment(connection: Connection, text: str, where: str) -> str | None:
    """Return a declared point in time as the server writes it; None for infinity."""
    try:
        with connection.transaction():
            row = connection.execute(
                "SELECT nullif(%s::timestamptz, 'infinity')::text", (text,)
            ).fetchone()
    except psycopg.DataError:
        raise AccessError(f"{where}: valid_until {shown(text)} is not a date and time.") from None
    return row[0] if row else None


def new_catalogues(connection: Connection) -> list[str]:
    """Return the catalogues of this server that keep privileges and are not known here."""
    rows = _rows(connection, acl.NEW_CATALOGUES, (sorted(acl.CATALOGUES),))
    return [row["relname"] for row in rows]


def read_owners(connection: Connection, declared: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return whose objects there are: role, kind and number, of roles that are not ``declared``."""
    rows = connection.execute(acl.OWNERS.encode(), (sorted(declared),)).fetchall()
    return [(role, kind, number) for role, kind, number in rows]


def read_shared(connection: Connection) -> Contents:
    """Read who holds what on the whole server: on tablespaces and on settings."""
    version = connection.info.server_version // 10000
    held = _rows(connection, acl.held_by_server(version))
    return Contents(
        extensions=frozenset(),
        available={},
        schemas={},
        relations={},
        columns=frozenset(),
        functions={},
        signatures={},
        held=tuple(map(_held, held)),
        others=_others(_rows(connection, acl.TABLESPACES)),
    )


def _others(rows: Iterable[Mapping[str, Any]]) -> dict[Target, tuple[str, bool]]:
    return {
        Target(row["kind"], row["schema"], row["name"]): (row["owner"], row["member"])
        for row in rows
    }


def read_contents(
    connection: Connection,
    schemas: Iterable[str],
    signatures: Iterable[str],
    large_objects: bool = False,
) -> Contents:
    """Read one database; relations, functions and types only of the schemas that are asked for.

    Signatures that name no function are left out of ``Contents.signatures``.
    """
    wanted = sorted(set(schemas))
    found = {text: _procedure(connection, text) for text in set(signatures)}
    functions, by_oid = _functions(connection, wanted, found)
    held = _rows(connection, acl.HELD) + _rows(connection, acl.HELD_DEFAULTS)
    asked = {"schemas": wanted, "large_objects": large_objects}
    available = _rows(
        connection,
        "SELECT e.name, v.schema FROM pg_available_extensions e"
        " LEFT JOIN pg_available_extension_versions v"
        " ON v.name = e.name AND v.version = e.default_version",
    )
    owners = _rows(
        connection,
        "SELECT nspname AS name, rolname AS owner FROM pg_namespace"
        " JOIN pg_roles r ON r.oid = nspowner WHERE nspname !~ '^pg_(toast_)?temp_'",
    )
    return Contents(
        extensions=frozenset(
            row["extname"] for row in _rows(connection, "SELECT extname FROM pg_extension")
        ),
        available={row["name"]: row["schema"] for row in available},
        schemas={row["name"]: row["owner"] for row in owners},
        relations={
            (row["schema"], row["name"]): (row["kind"], row["owner"], row["member"])
            for row in _rows(connection, RELATIONS, (wanted,))
        },
        columns=frozenset(
            (row["nspname"], row["relname"], row["attname"])
            for row in _rows(connection, COLUMNS, (wanted,))
        ),
        functions=functions,
        signatures=by_oid,
        held=tuple(map(_held, held)),
        others=_others(_rows(connection, acl.OBJECTS, asked)),
    )


def _procedure(connection: Connection, signature: str) -> int | None:
    try:
        with connection.transaction():
            row = connection.execute("SELECT to_regprocedure(%s)::oid", (signature,)).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None


def _functions(
    connection: Connection, schemas: list[str], found: Mapping[str, int | None]
) -> tuple[dict[Target, tuple[str, bool]], dict[str, Target]]:
    oids = [oid for oid in found.values() if oid is not None]
    query = FUNCTIONS.replace("SELECT n.nspname", "SELECT p.oid, n.nspname", 1)
    functions: dict[Target, tuple[str, bool]] = {}
    targets: dict[int, Target] = {}
    for row in _rows(connection, query, (schemas, oids)):
        target = Target("function", row["schema"], row["name"], row["detail"])
        functions[target] = (row["owner"], row["member"])
        targets[row["oid"]] = target
    return functions, {
        text: targets[oid] for text, oid in found.items() if oid is not None and oid in targets
    }


def _held(row: Mapping[str, Any]) -> Held:
    return Held(
        target=Target(row["kind"], row["schema"], row["name"], row["detail"]),
        grantee=row["grantee"] or PUBLIC,
        privilege=row["privilege"],
        grantable=row["grantable"],
        grantor=row["grantor"],
        owner=row["owner"],
        kept=row["kept"],
    )
