"""Rights are found on every kind of object that can carry them, and taken back unless declared."""

from __future__ import annotations

from time import monotonic
from typing import Any

from plugins.module_utils.postgresql_access import acl
from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, refuse, statements

MANY = 4000
LARGE_OBJECTS = """
DO $$ BEGIN FOR n IN 80001..84000 LOOP
  PERFORM lo_create(n);
  EXECUTE format('GRANT ALL ON LARGE OBJECT %s TO PUBLIC', n);
END LOOP; END $$
"""
# Each entry gives one account a way that no catalogue of tables shows.
SMUGGLED = [
    "CREATE ROLE evil LOGIN",
    "GRANT SET, ALTER SYSTEM ON PARAMETER archive_command, dbops.custom TO evil",
    "GRANT ALTER SYSTEM ON PARAMETER shared_preload_libraries TO watcher WITH GRANT OPTION",
    "SET ROLE watcher",
    "GRANT ALTER SYSTEM ON PARAMETER shared_preload_libraries TO app",
    "RESET ROLE",
    "GRANT CREATE ON TABLESPACE pg_default, pg_global TO PUBLIC",
    "GRANT app_owner TO pg_monitor",
]
SMUGGLED_INSIDE = [
    "CREATE EXTENSION postgres_fdw SCHEMA public",
    "CREATE EXTENSION file_fdw SCHEMA public",
    "CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
    "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw, file_fdw TO evil",
    "GRANT USAGE ON FOREIGN SERVER there TO PUBLIC",
    "GRANT USAGE ON FOREIGN SERVER files TO watcher WITH GRANT OPTION",
    "SET ROLE watcher",
    "GRANT USAGE ON FOREIGN SERVER files TO app",
    "RESET ROLE",
    "CREATE TABLE app.plain (a int)",
    "CREATE DOMAIN app.code AS text",
    "CREATE TYPE app.pair AS (a int, b int)",
    "GRANT USAGE ON TYPE app.code, app.pair, app.plain, int4 TO evil WITH GRANT OPTION",
    "GRANT USAGE ON LANGUAGE sql, plpgsql TO evil WITH GRANT OPTION",
    "SELECT lo_create(70001), lo_create(70002), lo_create(70003)",
    "GRANT ALL ON LARGE OBJECT 70001 TO PUBLIC",
    "GRANT UPDATE ON LARGE OBJECT 70002 TO evil",
    "ALTER LARGE OBJECT 70003 OWNER TO watcher",
    "GRANT SELECT ON ALL TABLES IN SCHEMA app TO pg_monitor",
    "GRANT EXECUTE ON FUNCTION postgres_fdw_disconnect_all() TO evil",
    "GRANT EXECUTE ON FUNCTION lo_import(text), lo_export(oid, text) TO evil",
]
ALLOWED = """
SELECT has_parameter_privilege(r, 'archive_command', 'ALTER SYSTEM')
    OR has_parameter_privilege(r, 'shared_preload_libraries', 'ALTER SYSTEM')
    OR has_tablespace_privilege(r, 'pg_default', 'CREATE'),
  has_foreign_data_wrapper_privilege(r, 'postgres_fdw', 'USAGE')
    OR has_foreign_data_wrapper_privilege(r, 'file_fdw', 'USAGE'),
  has_server_privilege(r, 'there', 'USAGE') OR has_server_privilege(r, 'files', 'USAGE'),
  has_type_privilege(r, 'app.code', 'USAGE WITH GRANT OPTION')
    OR has_type_privilege(r, 'int4', 'USAGE WITH GRANT OPTION')
    OR has_language_privilege(r, 'sql', 'USAGE WITH GRANT OPTION'),
  EXISTS (SELECT FROM pg_largeobject_metadata, aclexplode(lomacl) a
          WHERE a.grantee IN (0, r::regrole) AND a.grantee <> lomowner)
FROM unnest('{app, evil, watcher}'::text[]) r
"""


def smuggle(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(*SMUGGLED)
    cluster.run(*SMUGGLED_INSIDE, database="flights")


def test_every_catalogue_of_this_version_that_keeps_privileges_is_known(cluster: Cluster) -> None:
    known = cluster.rows(
        "SELECT DISTINCT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE a.atttypid = 'aclitem[]'::regtype AND c.relkind = 'r'"
        " AND c.relnamespace = 'pg_catalog'::regnamespace"
    )
    assert {name for (name,) in known} == acl.CATALOGUES


def test_a_new_catalogue_is_told_and_not_passed_over(cluster: Cluster, monkeypatch: Any) -> None:
    agree(cluster, **FLIGHTS)
    monkeypatch.setattr(acl, "CATALOGUES", acl.CATALOGUES - {"pg_foreign_server"})
    (warning,) = agree(cluster, **FLIGHTS).warnings
    assert "keeps privileges in pg_foreign_server" in warning


def test_what_was_smuggled_past_the_tables_is_listed_and_taken_back(cluster: Cluster) -> None:
    smuggle(cluster)
    outcome = agree(cluster, **FLIGHTS)
    before = str(outcome.report()["diff"]["before"])  # type: ignore[index]
    for line in (
        "server: parameter archive_command: ALTER SYSTEM to evil",
        'server: parameter "dbops.custom": SET to evil',
        "server: parameter shared_preload_libraries: ALTER SYSTEM to app (granted by watcher)",
        "server: tablespace pg_global: CREATE to PUBLIC",
        "role pg_monitor: member of app_owner",
        "database flights: foreign data wrapper file_fdw: USAGE to evil",
        "database flights: foreign server there: USAGE to PUBLIC",
        "database flights: foreign server files: USAGE to app (granted by watcher)",
        "database flights: type app.code: USAGE to evil with grant option",
        "database flights: type pg_catalog.int4: USAGE to evil with grant option",
        "database flights: language plpgsql: USAGE to evil with grant option",
        "database flights: large object 70001: UPDATE to PUBLIC",
        "database flights: large object 70002: UPDATE to evil",
        "database flights: table app.plain: SELECT to pg_monitor",
        "database flights: function public.postgres_fdw_disconnect_all(): EXECUTE to evil",
        "database flights: function pg_catalog.lo_import(text): EXECUTE to evil",
    ):
        assert f"{line}\n" in before, line
    assert cluster.rows(ALLOWED, database="flights") == [(False,) * 5] * 3
    owner = "SELECT lomowner::regrole::text FROM pg_largeobject_metadata WHERE oid = 70003"
    assert cluster.rows(owner, database="flights") == [("watcher",)]
    assert outcome.undeclared_owners == [
        "database flights: role watcher owns 1 of the kind large object"
    ]


def test_predefined_roles_keep_what_they_came_with(cluster: Cluster) -> None:
    members = "SELECT roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 1, 2"
    fresh = cluster.rows(members)
    assert len(fresh) == 3
    agree(cluster, roles=[], databases=[{"name": "postgres"}])
    assert cluster.rows(members) == fresh
    query = "SELECT has_function_privilege('pg_monitor', 'pg_ls_waldir()', 'EXECUTE')"
    assert cluster.rows(query) == [(True,)]


def test_what_is_declared_stays_is_given_and_is_found_by_name(cluster: Cluster) -> None:
    smuggle(cluster)
    inside = {"role": "app", "database": "flights", "privileges": ["ALL"]}
    grants = [
        *FLIGHTS["grants"],
        {"role": "app", "parameters": ["Work_Mem", "dbops.custom"], "privileges": ["SET"]},
        {"role": "app", "tablespaces": ["pg_default"], "privileges": ["CREATE"]},
        {**inside, "servers": ["there"]},
        {**inside, "wrappers": ["postgres_fdw"]},
        {**inside, "languages": ["plpgsql"], "grant_option": True},
        {**inside, "schema": "app", "types": ["code"]},
        {**inside, "large_objects": "all", "privileges": ["SELECT"]},
        {**inside, "large_objects": [70001], "privileges": ["UPDATE"]},
        {**inside, "role": "PUBLIC", "schema": "app", "types": "all"},
    ]
    agree(cluster, **{**FLIGHTS, "grants": grants})
    query = """
      SELECT has_parameter_privilege('app', 'work_mem', 'SET'),
        has_tablespace_privilege('app', 'pg_default', 'CREATE'),
        has_server_privilege('app', 'there', 'USAGE'),
        has_server_privilege('app', 'files', 'USAGE'),
        has_foreign_data_wrapper_privilege('app', 'postgres_fdw', 'USAGE'),
        has_language_privilege('app', 'plpgsql', 'USAGE WITH GRANT OPTION'),
        (SELECT array_agg(lomacl::text ORDER BY oid) FROM pg_largeobject_metadata)
    """
    ((*allowed, large),) = cluster.rows(query, database="flights")
    assert allowed == [True, True, True, False, True, True]
    assert large == [
        "{postgres=rw/postgres,app=rw/postgres}",
        "{postgres=rw/postgres,app=r/postgres}",
        "{watcher=rw/watcher,app=r/watcher}",
    ]


def test_a_database_to_come_is_foretold_with_its_wrapper_and_language(cluster: Cluster) -> None:
    flights = {**FLIGHTS["databases"][1], "extensions": ["postgres_fdw"]}
    inside = {"role": "app", "database": "flights", "privileges": ["USAGE"]}
    grants = [{**inside, "wrappers": ["postgres_fdw"]}, {**inside, "languages": ["sql"]}]
    agree(
        cluster,
        roles=[role for role in FLIGHTS["roles"] if role["name"] != "watcher"],
        databases=[{"name": "postgres"}, flights],
        grants=grants,
    )


def test_a_name_that_is_not_there_is_refused(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    inside = {"role": "app", "database": "flights", "privileges": ["ALL"]}
    for grant, words in (
        ({**inside, "servers": ["none"]}, "foreign server none is not there in database flights."),
        ({**inside, "large_objects": [9]}, "large object 9 is not there in database flights."),
        ({**inside, "schema": "app", "types": ["x"]}, "type x is not there in database flights."),
        (
            {"role": "app", "tablespaces": ["x"], "privileges": ["CREATE"]},
            "tablespace x is not there on the server.",
        ),
    ):
        text = refuse(cluster, **{**FLIGHTS, "grants": [grant]})
        assert text.endswith(words)


def test_thousands_of_large_objects_take_seconds(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(LARGE_OBJECTS, database="flights")
    started = monotonic()
    done = agree(cluster, **FLIGHTS)
    assert len(statements(done)) == MANY // 1000
    assert monotonic() - started < 30


def test_large_objects_to_come_are_foretold_where_the_version_can(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    rule = {"database": "flights", "owner": "app_owner", "objects": "large_objects", "role": "app"}
    wanted = {**FLIGHTS, "default_privileges": [{**rule, "privileges": ["SELECT"]}]}
    version = int(cluster.rows("SHOW server_version_num")[0][0]) // 10000
    if version < 18:
        assert "no default privileges on large objects" in refuse(cluster, **wanted)
        return
    cluster.run(
        "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT ALL ON LARGE OBJECTS TO watcher",
        database="flights",
    )
    agree(cluster, **wanted)
    cluster.run("SET ROLE app_owner", "SELECT lo_create(70009)", database="flights")
    acl_now = "SELECT lomacl::text FROM pg_largeobject_metadata WHERE oid = 70009"
    expected = [("{app_owner=rw/app_owner,app=r/app_owner}",)]
    assert cluster.rows(acl_now, database="flights") == expected
    agree(cluster, **wanted)
    assert cluster.rows(acl_now, database="flights") == expected
