"""An application's role owns types, functions and settings: none of it runs as anybody else.

What the role plants says so in the server's log when somebody else calls it, and breaks a drill.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.e2e.postgresql.hosts import MEMBERS, Site

_WORD = "attack-was-called"
# What is planted is called by its owner while it is made; by others it must not be.
_BODY = f"""
BEGIN
  IF current_user <> 'flights_owner' THEN
    RAISE LOG '{_WORD} by %, superuser %', current_user, current_setting('is_superuser');
    IF current_setting('listen_addresses') = '' THEN
      RAISE EXCEPTION '{_WORD} in the drill by %', current_user;
    END IF;
  END IF;
  RETURN RESULT;
END"""


def _function(signature: str, returns: str, result: str, how: str = "") -> str:
    body = _BODY.replace("RESULT", result)
    head = f"CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql {how}"
    return f"{head} AS $body${body}$body$"


_PLANTS = {
    "a cast of a composite type": (
        "CREATE TYPE evil.t AS (a int, j json)",
        _function("evil.f(evil.t)", "text", "'x'"),
        "CREATE CAST (evil.t AS text) WITH FUNCTION evil.f(evil.t)",
        "CREATE TABLE evil.r AS SELECT ROW(1, '{}')::evil.t AS v",
    ),
    "a cast of what a domain stands for": (
        "CREATE TYPE evil.t AS (a int, j json)",
        "CREATE DOMAIN evil.d AS evil.t",
        _function("evil.f(evil.t)", "text", "'x'"),
        "CREATE CAST (evil.t AS text) WITH FUNCTION evil.f(evil.t)",
        "CREATE TABLE evil.r (v evil.d)",
        "INSERT INTO evil.r VALUES (ROW(1, '{}'))",
    ),
    "a cast of a domain's enumeration": (
        "CREATE TYPE evil.e AS ENUM ('one', 'two')",
        "CREATE DOMAIN evil.d AS evil.e",
        _function("evil.f(evil.e)", "text", "'x'"),
        "CREATE CAST (evil.e AS text) WITH FUNCTION evil.f(evil.e)",
        "CREATE TABLE evil.r (v evil.d)",
        "INSERT INTO evil.r VALUES ('one')",
    ),
    "a cast of an array": (
        "CREATE TYPE evil.t AS (a int, j json)",
        _function("evil.f(evil.t[])", "text", "'x'"),
        "CREATE CAST (evil.t[] AS text) WITH FUNCTION evil.f(evil.t[])",
        "CREATE TABLE evil.r AS SELECT ARRAY[ROW(1, '{}')::evil.t] AS v",
    ),
    "a domain's constraint": (
        _function("evil.f(int)", "boolean", "true"),
        "CREATE DOMAIN evil.d AS int CHECK (evil.f(VALUE))",
        "CREATE TABLE evil.r (v evil.d)",
        "INSERT INTO evil.r VALUES (1)",
    ),
    "an index's expression": (
        _function("evil.f(int)", "int", "$1", "IMMUTABLE"),
        "CREATE TABLE evil.r AS SELECT g AS v FROM generate_series(1, 50) AS g",
        "CREATE INDEX ON evil.r ((v + evil.f(1)))",
    ),
    "an index's condition": (
        _function("evil.f(int)", "int", "$1", "IMMUTABLE"),
        "CREATE TABLE evil.r AS SELECT g AS v FROM generate_series(1, 50) AS g",
        "CREATE INDEX ON evil.r (v) WHERE v > evil.f(1)",
    ),
    "a statistics object": (
        _function("evil.f(int)", "int", "$1", "IMMUTABLE"),
        "CREATE TABLE evil.r AS SELECT g AS v FROM generate_series(1, 50) AS g",
        "CREATE STATISTICS evil.s ON (v + evil.f(1)), (v * 2) FROM evil.r",
        "ANALYZE evil.r",
    ),
}


@pytest.fixture
def whole(site: Site) -> Site:
    site.heal()
    return site


@contextmanager
def _planted(site: Site, statements: tuple[str, ...]) -> Iterator[psycopg.Connection[object]]:
    with psycopg.connect(site.dsn("flights_owner"), autocommit=True) as connection:
        try:
            connection.execute("CREATE SCHEMA evil")
            for statement in statements:
                connection.execute(statement.encode())
            yield connection
        finally:
            connection.execute("ALTER DATABASE flights RESET ALL")
            connection.execute("DROP SCHEMA IF EXISTS evil CASCADE")


def _calls(site: Site) -> str:
    """Return who called what was planted, by the logs of both members."""
    calls = f"grep -ho '{_WORD} by [a-z_]*, superuser o.*' /var/log/postgresql/*.log"
    line = f"{calls} | sort | uniq -c || true"
    return " ".join(site.root(host, line) for host in MEMBERS).strip()


def _nobody_called(site: Site, before: str) -> None:
    assert _calls(site) == before, "a planted function was called"


@pytest.mark.parametrize("what", _PLANTS)
def test_what_a_role_plants_is_called_by_no_backup_and_no_drill(whole: Site, what: str) -> None:
    before = _calls(whole)
    with _planted(whole, _PLANTS[what]):
        whole.take("incremental")
        assert whole.backups()[-1]["manifest"]["fingerprints"], "the content was not read"
        _nobody_called(whole, before)
        whole.dbops("drill1", "drill", "run")
    _nobody_called(whole, before)


def test_a_databases_settings_lead_no_superuser_to_a_roles_functions(whole: Site) -> None:
    """``dbops audit`` asks every database as the superuser."""
    shadows = (
        _function(
            "evil.acldefault(text, oid)", "aclitem[]", 'pg_catalog.acldefault($1::"char", $2)'
        ),
        _function("evil.to_regclass(text)", "regclass", "pg_catalog.to_regclass($1)"),
        "ALTER DATABASE flights SET search_path = evil, pg_catalog",
    )
    before = _calls(whole)
    with _planted(whole, shadows):
        whole.dbops(whole.primary(), "audit", ok=False)
        whole.take("incremental")
        whole.dbops("drill1", "drill", "run")
    _nobody_called(whole, before)


def test_a_table_with_row_security_is_backed_up_and_proven(whole: Site) -> None:
    table = (
        _function("evil.f(int)", "boolean", "true"),
        "CREATE TABLE evil.r AS SELECT g AS id FROM generate_series(1, 50) AS g",
        "CREATE POLICY p ON evil.r USING (evil.f(id))",
        "ALTER TABLE evil.r ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE evil.r FORCE ROW LEVEL SECURITY",
    )
    before = _calls(whole)
    with _planted(whole, table):
        whole.take("incremental")
        whole.dbops("drill1", "drill", "run")
        record = whole.dbops("drill1", "drill", "history", "--json").json()[-1]
    rows = {one["table"]: one["rows_found"] for one in record["tables"]}
    assert rows["evil.r"] == 50
    _nobody_called(whole, before)
