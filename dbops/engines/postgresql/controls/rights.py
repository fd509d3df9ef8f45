"""What is held beyond what the target file declares: memberships, and rights outside of schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dbops.engines.postgresql.controls.facts import Facts

# What predefined roles are members of when a server is made.
_BUILT_IN = {
    ("pg_read_all_settings", "pg_monitor"),
    ("pg_read_all_stats", "pg_monitor"),
    ("pg_stat_scan_tables", "pg_monitor"),
}
_MEMBERSHIPS = """
SELECT r.rolname, m.rolname, a.admin_option FROM pg_auth_members a
JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE NOT m.rolsuper ORDER BY 2, 1"""
_HELD = """
SELECT DISTINCT o.kind, o.name, coalesce(e.rolname, 'PUBLIC') FROM ({objects}) o
CROSS JOIN LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles e ON e.oid = a.grantee
WHERE a.grantee <> o.owner AND (a.grantee = 0 OR NOT e.rolsuper)
  AND NOT EXISTS (
    SELECT FROM aclexplode(coalesce(
      (SELECT i.initprivs FROM pg_init_privs i WHERE i.classoid = o.class AND i.objoid = o.object
       AND i.objsubid = o.sub), acldefault(o.type, o.owner))) b
    WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type
      AND (b.is_grantable OR NOT a.is_grantable))
ORDER BY 1, 2, 3"""
_SHARED = """
SELECT 'tablespace' AS kind, spcname::text AS name, spcowner AS owner, spcacl AS acl,
       tableoid AS class, oid AS object, 0 AS sub, 't'::"char" AS type
FROM pg_tablespace WHERE spcacl IS NOT NULL"""
_PARAMETERS = """
UNION ALL SELECT 'parameter', parname, 10::oid, paracl, tableoid, oid, 0, 'p'
FROM pg_parameter_acl WHERE paracl IS NOT NULL"""
_INSIDE = """
SELECT 'language' AS kind, lanname::text AS name, lanowner AS owner, lanacl AS acl,
       tableoid AS class, oid AS object, 0 AS sub, 'l'::"char" AS type
FROM pg_language WHERE lanacl IS NOT NULL
UNION ALL SELECT 'foreign data wrapper', fdwname, fdwowner, fdwacl, tableoid, oid, 0, 'F'
FROM pg_foreign_data_wrapper WHERE fdwacl IS NOT NULL
UNION ALL SELECT 'foreign server', srvname, srvowner, srvacl, tableoid, oid, 0, 'S'
FROM pg_foreign_server WHERE srvacl IS NOT NULL
UNION ALL SELECT 'large object', oid::text, lomowner, lomacl, tableoid, oid, 0, 'L'
FROM pg_largeobject_metadata WHERE lomacl IS NOT NULL
UNION ALL SELECT 'function', proname, proowner, proacl, tableoid, oid, 0, 'f'
FROM pg_proc WHERE proacl IS NOT NULL AND pronamespace = 'pg_catalog'::regnamespace
UNION ALL SELECT 'type', typname, typowner, typacl, tableoid, oid, 0, 'T'
FROM pg_type WHERE typacl IS NOT NULL AND typnamespace = 'pg_catalog'::regnamespace
UNION ALL SELECT 'table', relname, relowner, relacl, tableoid, oid, 0, 'r'
FROM pg_class WHERE relacl IS NOT NULL AND relnamespace = 'pg_catalog'::regnamespace
UNION ALL SELECT 'table', c.relname, c.relowner, a.attacl, c.tableoid, c.oid, a.attnum, 'c'
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attacl IS NOT NULL AND c.relnamespace = 'pg_catalog'::regnamespace"""
_KINDS = {
    "languages": "language",
    "wrappers": "foreign data wrapper",
    "servers": "foreign server",
    "large_objects": "large object",
    "functions": "function",
    "parameters": "parameter",
    "tablespaces": "tablespace",
}
Right = tuple[str, str, str, str]  # database, kind, name ("*" for all), role


def memberships(facts: Facts) -> list[str]:
    """Return a sentence for each membership that is not declared."""
    declared = facts.options.memberships
    problems = []
    for role, member, admin in facts.rows(_MEMBERSHIPS):
        if (role, member) not in _BUILT_IN and role not in declared.get(str(member), ()):
            problems.append(f"role {member!r} is a member of {role!r} and is not declared so")
        elif admin:
            problems.append(f"role {member!r} may make others a member of {role!r}")
    return problems


def undeclared(facts: Facts) -> list[str]:
    """Return a sentence for each right outside of the users' schemas that is not declared."""
    declared = {right for grant in facts.options.grants for right in _declared(grant)}
    version = int(facts.setting("server_version_num") or 0)
    shared = _SHARED + (_PARAMETERS if version >= 150000 else "")
    problems = list(_beyond(facts, _HELD.format(objects=shared), "", declared))
    for database in facts.databases:
        problems += _beyond(facts, _HELD.format(objects=_INSIDE), database, declared)
    return problems


def _beyond(facts: Facts, query: str, database: str, declared: set[Right]) -> Iterator[str]:
    for kind, name, role in facts.rows(query, database or "postgres"):
        known = {(database, kind, name, role), (database, kind, "*", role)}
        if not known & declared:
            where = f" of {database!r}" if database else ""
            yield f"{role!r} holds rights on {kind} {name}{where} and is not declared so"


def _declared(grant: Mapping[str, Any]) -> Iterator[Right]:
    """A function counts by its bare name, as its signature can be written in many ways."""
    database, role = str(grant.get("database") or ""), str(grant["role"])
    values = {**grant, "functions": grant.get("functions") or [grant.get("function")]}
    for key, kind in _KINDS.items():
        for name in _names(values.get(key)):
            if kind == "function":
                name = name.partition("(")[0].removeprefix("pg_catalog.").strip()
            yield database, kind, name.lower() if kind == "parameter" else name, role
    if grant.get("schema") == "pg_catalog":
        for key, kind in (("tables", "table"), ("types", "type")):
            for name in _names(grant.get(key)):
                yield database, kind, name, role


def _names(value: Any) -> list[str]:
    if value == "all":
        return ["*"]
    return [str(name) for name in value or () if name is not None]
