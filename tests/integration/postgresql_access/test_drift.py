"""What was changed by hand is found, foretold and undone."""

from __future__ import annotations

from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, converge_to, statements

DRIFT = [
    "CREATE ROLE evil LOGIN SUPERUSER",
    "CREATE ROLE sleeper NOLOGIN CREATEROLE",
    "GRANT pg_read_all_data TO sleeper",
    "GRANT app_owner TO app WITH ADMIN OPTION",
    "ALTER ROLE app BYPASSRLS CREATEDB CONNECTION LIMIT -1 VALID UNTIL 'infinity'",
    "ALTER ROLE app SET work_mem TO '1GB'",
    "ALTER ROLE app IN DATABASE flights SET search_path TO evil",
    "ALTER ROLE watcher RESET ALL",
    "GRANT CONNECT ON DATABASE flights TO watcher, PUBLIC",
]
DRIFT_INSIDE = [
    "CREATE TABLE app.t (a int, b int)",
    "ALTER TABLE app.t OWNER TO app_owner",
    "CREATE FUNCTION app.f(a int, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE PROCEDURE app.p(inout a int) LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int)",
    "GRANT ALL ON app.t TO PUBLIC",
    "GRANT UPDATE (a), SELECT (b) ON app.t TO watcher",
    "GRANT EXECUTE ON FUNCTION app.f(int, text[]) TO watcher",
    "GRANT EXECUTE ON PROCEDURE app.p(int) TO watcher WITH GRANT OPTION",
    "GRANT EXECUTE ON FUNCTION app.total(int) TO watcher",
    "GRANT CREATE ON SCHEMA public, app TO PUBLIC",
    "GRANT SELECT ON pg_authid TO watcher",
    "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO app",
    "REVOKE INSERT ON app.t FROM app",
    "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT ALL ON TABLES TO sleeper",
    "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA app GRANT EXECUTE ON FUNCTIONS TO app",
    "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app REVOKE SELECT ON TABLES FROM app",
]


def test_every_kind_of_drift_is_listed_first_and_then_undone(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(*DRIFT)
    cluster.run(*DRIFT_INSIDE, database="flights")
    additive = converge_to(cluster, check=True, **{**FLIGHTS, "exact": False})
    assert not [text for text in statements(additive) if "REVOKE" in text or "RESET" in text]
    outcome = agree(cluster, **FLIGHTS)
    assert outcome.undeclared_roles == ["evil", "sleeper"]
    before = str(outcome.report()["diff"]["before"])  # type: ignore[index]
    for line in (
        "role evil: superuser yes",
        "role evil: login yes",
        "role sleeper: createrole yes",
        "role sleeper: member of pg_read_all_data",
        "role app: member of app_owner with admin option",
        "role app in database flights: search_path = evil",
        "database flights: database flights: CONNECT to PUBLIC",
        "database flights: table app.t: DELETE to PUBLIC",
        "database flights: column app.t.a: UPDATE to watcher",
        "database flights: function app.f(integer, text[]): EXECUTE to watcher",
        "database flights: function app.p(integer): EXECUTE to watcher with grant option",
        "database flights: function app.total(integer): EXECUTE to watcher",
        "database flights: schema public: CREATE to PUBLIC",
        "database flights: table pg_catalog.pg_authid: SELECT to watcher",
        "database flights: function pg_catalog.pg_read_file(text): EXECUTE to app",
        "database flights: future tables of app_owner: DELETE to sleeper",
        "database flights: future functions of postgres in schema app: EXECUTE to app",
    ):
        assert f"{line}\n" in before, line
    flags = "SELECT rolsuper OR rolcanlogin OR rolcreaterole FROM pg_roles WHERE rolname = ANY(%s)"
    assert cluster.rows(flags, ["evil", "sleeper"]) == [(False,), (False,)]


def test_additive_takes_nothing_back_and_adds_what_is_missing(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(*DRIFT)
    cluster.run(*DRIFT_INSIDE, database="flights")
    outcome = agree(cluster, **{**FLIGHTS, "exact": False})
    assert 'GRANT INSERT, SELECT ON TABLE "app"."t" TO "app"' in statements(outcome)
    assert cluster.rows("SELECT rolsuper FROM pg_roles WHERE rolname = 'evil'") == [(True,)]


def test_an_undeclared_role_is_dropped_only_on_request_and_when_free(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run("CREATE ROLE free LOGIN", "CREATE ROLE owning LOGIN", "CREATE ROLE elsewhere")
    cluster.run("GRANT CONNECT ON DATABASE flights TO free", "GRANT free TO owning")
    cluster.run("CREATE ROLE spaced", "GRANT CREATE ON TABLESPACE pg_default TO spaced")
    cluster.run("GRANT CONNECT ON DATABASE template1 TO elsewhere")
    cluster.run("CREATE TABLE app.o ()", "ALTER TABLE app.o OWNER TO owning", database="flights")
    cluster.run("GRANT SELECT ON app.o TO free", database="flights")
    agree(cluster, **FLIGHTS)
    assert cluster.rows("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'free'") == [(False,)]
    outcome = agree(cluster, **{**FLIGHTS, "drop_undeclared_roles": True})
    assert statements(outcome) == ['DROP ROLE "free"', 'DROP ROLE "spaced"']
    assert [text.split(" is ")[0].split(" owns ")[0] for text in outcome.warnings] == [
        "The role elsewhere",
        "The role owning",
    ]
