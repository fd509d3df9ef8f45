"""Controls of accounts and privileges: who may do what inside the server."""

from __future__ import annotations

from dbops.audit.rules import Finding, Rule, verdict
from dbops.engines.postgresql.controls import rights
from dbops.engines.postgresql.controls.facts import Facts

_ROLES = """
SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"""
_PUBLIC_CREATE = """
SELECT n.nspname FROM pg_namespace n,
  aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' AND n.nspname !~ '^pg_'
ORDER BY 1"""
_PUBLIC_CONNECT = """
SELECT d.datname FROM pg_database d,
  aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT' AND NOT d.datistemplate
  AND d.datname <> 'postgres' ORDER BY 1"""
_LANGUAGES = """
SELECT lanname FROM pg_language WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')
UNION ALL
SELECT extname FROM pg_extension
WHERE extname IN ('dblink', 'file_fdw', 'adminpack', 'lo_export', 'plpython3u', 'plperlu',
                  'pltclu')"""
_DEFINERS = """
SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_proc'::regclass)
ORDER BY 1"""
_LOGINS = """
SELECT rolname, rolpassword IS NOT NULL, coalesce(rolvaliduntil < now(), false)
FROM pg_authid WHERE rolcanlogin ORDER BY rolname"""
_DOORS = """
SELECT DISTINCT unnest(user_name) FROM pg_hba_file_rules
WHERE auth_method IN ('peer', 'cert', 'gss', 'sspi', 'ldap', 'pam', 'radius')"""
_HASHES = """
SELECT rolname FROM pg_authid
WHERE rolpassword IS NOT NULL AND rolpassword NOT LIKE 'SCRAM-SHA-256$%' ORDER BY rolname"""
_UNLIMITED = """
SELECT rolname FROM pg_roles
WHERE rolcanlogin AND NOT rolsuper AND rolconnlimit < 0 ORDER BY rolname"""


def attributes(facts: Facts) -> Finding:
    """PG-16."""
    options = facts.options
    allowed = (
        ("superuser", 1, set(options.superusers)),
        ("CREATEROLE", 2, set(options.createrole)),
        ("CREATEDB", 3, set(options.createdb)),
        ("REPLICATION", 4, set(options.replication)),
        ("BYPASSRLS", 5, set(options.bypassrls)),
    )
    problems = []
    roles = facts.rows(_ROLES)
    for label, column, names in allowed:
        for row in roles:
            if row[column] and row[0] not in names and (column == 1 or not row[1]):
                problems.append(f"role {row[0]!r} is {label} and is not declared so")
    held = {str(row[0]) for row in roles if row[1]}
    problems += [
        f"superuser {name!r} is declared and missing"
        for name in sorted(set(options.superusers) - held)
    ]
    problems += [*rights.memberships(facts), *rights.undeclared(facts)]
    return verdict(problems, f"{len(roles)} roles as declared")


def public(facts: Facts) -> Finding:
    """PG-17."""
    problems = [f"PUBLIC may connect to {row[0]!r}" for row in facts.rows(_PUBLIC_CONNECT)]
    for database in facts.databases:
        problems += [
            f"PUBLIC may create in schema {row[0]!r} of {database!r}"
            for row in facts.rows(_PUBLIC_CREATE, database)
        ]
    return verdict(problems, f"{len(facts.databases)} databases")


def languages(facts: Facts) -> Finding:
    """PG-18."""
    problems = [
        f"{row[0]} in {database!r}"
        for database in facts.databases
        for row in facts.rows(_LANGUAGES, database)
    ]
    return verdict(sorted(set(problems)), "none")


def definers(facts: Facts) -> Finding:
    """PG-19."""
    problems = [
        f"{row[0]} in {database!r} pins no search_path"
        for database in facts.databases
        for row in facts.rows(_DEFINERS, database)
    ]
    return verdict(problems, "all pin it")


def logins(facts: Facts) -> Finding:
    """PG-20."""
    doors = {str(row[0]) for row in facts.rows(_DOORS)}
    problems = []
    for name, password, expired in facts.rows(_LOGINS):
        if not password and not doors & {str(name), "all"}:
            problems.append(f"role {name!r} has no password and no rule that needs none")
        if expired:
            problems.append(f"role {name!r} has expired and may still be named for login")
    return verdict(problems, "every login has a way in, and one only")


def hashes(facts: Facts) -> Finding:
    """PG-21."""
    problems = [f"the stored password of {row[0]!r} is not SCRAM" for row in facts.rows(_HASHES)]
    if facts.setting("password_encryption") != "scram-sha-256":
        problems.append(f"password_encryption is {facts.setting('password_encryption')!r}")
    return verdict(problems, "SCRAM only")


def limits(facts: Facts) -> Finding:
    """PG-25."""
    problems = [f"role {row[0]!r} has no connection limit" for row in facts.rows(_UNLIMITED)]
    if int(facts.setting("authentication_timeout") or 61) > 60:
        problems.append("authentication_timeout is above 60 s")
    if not facts.preloaded() & {"passwordcheck", "auth_delay", "$libdir/passwordcheck"}:
        problems.append("neither passwordcheck nor auth_delay is loaded")
    return verdict(problems, "limits, a short time to log in, and slow guessing")


RULES: tuple[Rule[Facts], ...] = (
    Rule("PG-16", "Only declared roles hold attributes, memberships and rights", attributes),
    Rule("PG-17", "PUBLIC may neither create nor connect", public),
    Rule("PG-18", "No untrusted language and no extension that reaches out", languages),
    Rule("PG-19", "Functions with their owner's rights pin search_path", definers),
    Rule("PG-20", "Every login has a credential that is valid", logins),
    Rule("PG-21", "Passwords are stored as SCRAM only", hashes),
    Rule("PG-25", "Connections are limited and guessing is slow", limits),
)
