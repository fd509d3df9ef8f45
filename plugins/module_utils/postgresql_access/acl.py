"""Who holds what: every kind of object in the catalogue that carries privileges. Only SELECT.

``aclitem[]`` is the type of a column that keeps privileges; ``CATALOGUES`` names each of them, so
that a later version's new one is noticed (``NEW_CATALOGUES``) instead of being passed over.
"""

from __future__ import annotations

CATALOGUES = frozenset(
    {
        *("pg_attribute", "pg_class", "pg_database", "pg_default_acl", "pg_foreign_data_wrapper"),
        *("pg_foreign_server", "pg_init_privs", "pg_language", "pg_largeobject_metadata"),
        *("pg_namespace", "pg_parameter_acl", "pg_proc", "pg_tablespace", "pg_type"),
    }
)
NEW_CATALOGUES = """
SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.atttypid = 'aclitem[]'::regtype AND c.relnamespace = 'pg_catalog'::regnamespace
  AND c.relkind = 'r' AND NOT a.attisdropped AND c.relname <> ALL (%s) ORDER BY 1
"""

# One row per privilege. What initdb or CREATE EXTENSION gave is in pg_init_privs; without an entry
# there the built-in default counts. Both are kept.
# initdb makes information_schema after it has filled pg_init_privs, hence its own condition.
_OBJECTS = """
  SELECT 'database' AS kind, tableoid AS class, oid AS object, 0 AS sub, 'd'::"char" AS type,
         datdba AS owner, coalesce(datacl, acldefault('d', datdba)) AS acl,
         '' AS schema, datname::text AS name, '' AS detail
  FROM pg_database WHERE datname = current_database()
  UNION ALL
  SELECT 'schema', tableoid, oid, 0, 'n', nspowner, nspacl, '', nspname, ''
  FROM pg_namespace WHERE nspacl IS NOT NULL AND nspname !~ '^pg_(toast_)?temp_'
  UNION ALL
  SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.tableoid, c.oid, 0,
         CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner, c.relacl,
         n.nspname, c.relname, ''
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relacl IS NOT NULL AND c.relkind IN ('r','p','v','m','f','S')
    AND n.nspname !~ '^pg_(toast_)?temp_'
  UNION ALL
  SELECT 'column', c.tableoid, c.oid, a.attnum, 'c', c.relowner, a.attacl, n.nspname, c.relname,
         a.attname
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND n.nspname !~ '^pg_(toast_)?temp_'
  UNION ALL
  SELECT 'function', p.tableoid, p.oid, 0, 'f', p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner)), n.nspname, p.proname,
         (SELECT coalesce(string_agg(format_type(t, NULL), ', ' ORDER BY i), '')
          FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, i))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE (p.proacl IS NOT NULL OR p.oid >= 16384) AND n.nspname !~ '^pg_(toast_)?temp_'
  UNION ALL
  SELECT 'type', t.tableoid, t.oid, 0, 'T', t.typowner, t.typacl, n.nspname, t.typname, ''
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE t.typacl IS NOT NULL AND n.nspname !~ '^pg_(toast_)?temp_'
  UNION ALL
  SELECT 'language', tableoid, oid, 0, 'l', lanowner, lanacl, '', lanname, ''
  FROM pg_language WHERE lanacl IS NOT NULL
  UNION ALL
  SELECT 'foreign data wrapper', tableoid, oid, 0, 'F', fdwowner, fdwacl, '', fdwname, ''
  FROM pg_foreign_data_wrapper WHERE fdwacl IS NOT NULL
  UNION ALL
  SELECT 'foreign server', tableoid, oid, 0, 'S', srvowner, srvacl, '', srvname, ''
  FROM pg_foreign_server WHERE srvacl IS NOT NULL
  UNION ALL
  SELECT 'large object', tableoid, oid, 0, 'L', lomowner, lomacl, '', oid::text, ''
  FROM pg_largeobject_metadata WHERE lomacl IS NOT NULL
"""
_HELD = """
WITH objects AS ({objects})
SELECT o.kind, o.schema, o.name, o.detail, w.rolname AS owner, coalesce(e.rolname, '') AS grantee,
       coalesce(g.rolname, '') AS grantor, a.privilege_type AS privilege,
       a.is_grantable AS grantable,
       o.kind <> 'database' AND (
         o.object < 16384 AND a.grantee = 0 AND a.privilege_type IN ('SELECT', 'USAGE')
         AND 'information_schema' = CASE o.kind WHEN 'schema' THEN o.name ELSE o.schema END
         OR EXISTS (
           SELECT FROM aclexplode(coalesce(
             (SELECT i.initprivs FROM pg_init_privs i WHERE i.classoid = o.class
              AND i.objoid = o.object AND i.objsubid = o.sub), acldefault(o.type, o.owner))) b
           WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type
             AND (b.is_grantable OR NOT a.is_grantable)
             AND NOT (o.kind = 'schema' AND o.name = 'public' AND b.grantee = 0
                      AND b.privilege_type = 'CREATE'))) AS kept
FROM objects o CROSS JOIN LATERAL aclexplode(o.acl) a
JOIN pg_roles w ON w.oid = o.owner
LEFT JOIN pg_roles e ON e.oid = a.grantee
LEFT JOIN pg_roles g ON g.oid = a.grantor
WHERE a.grantee = 0 OR e.oid IS NOT NULL
"""
HELD = _HELD.format(objects=_OBJECTS)
HELD_DEFAULTS = """
SELECT 'default ' || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
         WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'L' THEN 'large objects'
         ELSE 'schemas' END AS kind,
       coalesce(n.nspname, '') AS schema, w.rolname AS name, '' AS detail, w.rolname AS owner,
       coalesce(e.rolname, '') AS grantee, w.rolname AS grantor, a.privilege_type AS privilege,
       a.is_grantable AS grantable,
       d.defaclnamespace = 0 AND EXISTS (
         SELECT FROM aclexplode(acldefault(
           CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) b
         WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type
           AND (b.is_grantable OR NOT a.is_grantable)) AS kept
FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a
JOIN pg_roles w ON w.oid = d.defaclrole
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
LEFT JOIN pg_roles e ON e.oid = a.grantee
WHERE d.defaclobjtype IN ('r','S','f','T','n','L') AND (a.grantee = 0 OR e.oid IS NOT NULL)
"""
# What belongs to the whole server. Settings belong to nobody: the role that made the cluster gives.
_SHARED = """
SELECT o.kind, '' AS schema, o.name, '' AS detail, w.rolname AS owner,
       coalesce(e.rolname, '') AS grantee, coalesce(g.rolname, '') AS grantor,
       a.privilege_type AS privilege, a.is_grantable AS grantable, false AS kept
FROM ({objects}) o CROSS JOIN LATERAL aclexplode(o.acl) a
JOIN pg_roles w ON w.oid = o.owner
LEFT JOIN pg_roles e ON e.oid = a.grantee
LEFT JOIN pg_roles g ON g.oid = a.grantor
WHERE a.grantee = 0 OR e.oid IS NOT NULL
"""
_TABLESPACES = (
    "SELECT 'tablespace' AS kind, spcname::text AS name, spcowner AS owner, spcacl AS acl"
    " FROM pg_tablespace WHERE spcacl IS NOT NULL"
)
_PARAMETERS = (
    " UNION ALL SELECT 'parameter', parname, 10::oid, paracl FROM pg_parameter_acl"
    " WHERE paracl IS NOT NULL"
)


def held_by_server(version: int) -> str:
    """Return the query for privileges on tablespaces and, where there are any, on settings."""
    return _SHARED.format(objects=_TABLESPACES + (_PARAMETERS if version >= 15 else ""))


# Objects other than schemas, relations and functions that a rule may name, and their owners.
OBJECTS = """
WITH objects AS (
  SELECT 'language' AS kind, '' AS schema, lanname::text AS name, lanowner AS owner,
         tableoid AS class, oid FROM pg_language
  UNION ALL SELECT 'foreign data wrapper', '', fdwname, fdwowner, tableoid, oid
  FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'foreign server', '', srvname, srvowner, tableoid, oid FROM pg_foreign_server
  UNION ALL SELECT 'type', n.nspname, t.typname, t.typowner, t.tableoid, t.oid
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_class c ON c.oid = t.typrelid
  WHERE n.nspname = ANY(%(schemas)s) AND (c.oid IS NULL OR c.relkind = 'c')
    AND t.typtype IN ('b', 'c', 'd', 'e', 'r')
    AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
  UNION ALL SELECT 'large object', '', oid::text, lomowner, tableoid, oid
  FROM pg_largeobject_metadata WHERE %(large_objects)s
)
SELECT o.kind, o.schema, o.name, r.rolname AS owner,
       EXISTS (SELECT FROM pg_depend x WHERE x.classid = o.class AND x.objid = o.oid
               AND x.deptype = 'e') AS member
FROM objects o JOIN pg_roles r ON r.oid = o.owner
"""
TABLESPACES = """
SELECT 'tablespace' AS kind, '' AS schema, spcname::text AS name, rolname AS owner, false AS member
FROM pg_tablespace JOIN pg_roles r ON r.oid = spcowner
"""

# What belongs to whom, counted; what extensions and the system made is left out.
OWNERS = """
WITH owned AS (
  SELECT 'relation' AS kind, relowner AS owner, tableoid AS class, oid FROM pg_class
  WHERE relkind IN ('r','p','v','m','f','S') AND relnamespace NOT IN (
    SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_')
  UNION ALL SELECT 'function', proowner, tableoid, oid FROM pg_proc
  UNION ALL SELECT 'schema', nspowner, tableoid, oid FROM pg_namespace
  WHERE nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT 'language', lanowner, tableoid, oid FROM pg_language
  UNION ALL SELECT 'foreign data wrapper', fdwowner, tableoid, oid FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'foreign server', srvowner, tableoid, oid FROM pg_foreign_server
  UNION ALL SELECT 'large object', lomowner, tableoid, oid FROM pg_largeobject_metadata
)
SELECT r.rolname, o.kind, count(*) FROM owned o JOIN pg_roles r ON r.oid = o.owner
WHERE o.oid >= 16384 AND NOT r.rolsuper AND r.rolname !~ '^pg_' AND r.rolname <> ALL (%s)
  AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = o.class AND x.objid = o.oid
                  AND x.deptype = 'e')
GROUP BY 1, 2 ORDER BY 1, 2
"""
