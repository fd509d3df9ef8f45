"""The module ``postgresql_access`` against a private PostgreSQL that is made for these tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from psycopg import sql

from plugins.module_utils.postgresql_access.converge import LOCK, Outcome, Server, converge
from plugins.module_utils.postgresql_access.declaration import load
from plugins.module_utils.postgresql_access.names import AccessError
from plugins.modules.postgresql_access import ARGUMENTS

ROOT = Path(__file__).parents[2]
PORT = 55441
HOSTILE = [
    "a;touch x",
    "$(id)",
    "-rf",
    'o\'brien "quoted"',
    "two\nlines",
    "ünï-日本 🛫",
    "../../etc/cron.d/x",
    "back\\slash %s {} a=b",
    "current_user",
    "x" * 63,
]
HBA = "local all postgres trust\nlocal all all scram-sha-256\n"
CONFIG = """
listen_addresses = ''
log_statement = 'all'
log_min_duration_statement = 0
fsync = off
max_connections = 30
shared_buffers = 16MB
"""


class Cluster:
    """A private PostgreSQL on a Unix socket."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self.programs = programs
        self.data = directory / "data"
        self.server = Server(str(directory), PORT, "postgres", lock_timeout_seconds=2)

    def program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, never as root."""
        argv = [str(self.programs / name), *arguments]
        if os.geteuid() == 0:
            argv = ["runuser", "-u", "postgres", "--", *argv]
        subprocess.run(argv, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

    def start(self) -> None:
        """Make the cluster when it is not there, and start it."""
        if not self.data.exists():
            self.program("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N")
            with (self.data / "postgresql.conf").open("a") as stream:
                stream.write(CONFIG + f"port = {PORT}\n")
                stream.write(f"unix_socket_directories = '{self.directory}'\n")
            (self.data / "pg_hba.conf").write_text(HBA)
        self.program("pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "start")

    def stop(self) -> None:
        """Stop it at once."""
        self.program("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    @property
    def log(self) -> Path:
        """Where the server writes its log."""
        return self.directory / "log"

    def connect(self, database: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Open a connection, as superuser unless told otherwise."""
        user = more.pop("user", "postgres")
        return psycopg.connect(
            host=str(self.directory), port=PORT, dbname=database, user=user, autocommit=True, **more
        )

    def run(self, *statements: str | sql.Composed, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode() if isinstance(statement, str) else statement)

    def rows(self, query: str, *parameters: Any, database: str = "postgres") -> list[Any]:
        """Return the rows of a query."""
        with self.connect(database) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def wipe(self) -> None:
        """Bring the server back to what initdb left, as far as these tests go."""
        for (name,) in self.rows("SELECT datname FROM pg_database WHERE oid > 16383"):
            self.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        found = self.rows("SELECT rolname FROM pg_roles WHERE oid > 16383")
        identifiers = [sql.Identifier(name) for (name,) in found]
        for name in identifiers:
            self.run(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
        for name in identifiers:
            self.run(sql.SQL("DROP ROLE {}").format(name))
        self.run("GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC")


@pytest.fixture(scope="module")
def running(programs: Path) -> Iterator[Cluster]:
    """A server that runs for all tests of this file."""
    directory = Path(f"/tmp/dbops-access-{os.getpid()}")
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    cluster = Cluster(directory, programs)
    try:
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The server, clean."""
    yield running
    running.wipe()


def converge_to(cluster: Cluster, check: bool = False, **parameters: Any) -> Outcome:
    """Run the module's logic with arguments checked as Ansible does."""
    result = ArgumentSpecValidator(ARGUMENTS).validate(parameters)
    assert not result.error_messages, result.error_messages
    return converge(cluster.server, load(result.validated_parameters), check)


def statements(outcome: Outcome) -> list[str]:
    """Return the statements of an outcome."""
    return [text for step in outcome.steps for text in step.texts()]


CATALOGUE = """
SELECT 'role', to_jsonb(r)::text FROM pg_authid r
UNION ALL SELECT 'member', to_jsonb(m)::text FROM pg_auth_members m
UNION ALL SELECT 'setting', to_jsonb(s)::text FROM pg_db_role_setting s
UNION ALL SELECT 'database', to_jsonb(d)::text
FROM (SELECT datname, datdba, datacl FROM pg_database) d
UNION ALL SELECT 'schema', to_jsonb(n)::text FROM pg_namespace n WHERE nspname !~ 'temp'
UNION ALL SELECT 'relation', oid::regclass || ' ' || relacl::text
FROM pg_class WHERE relacl IS NOT NULL
UNION ALL SELECT 'function', oid::regprocedure || ' ' || proacl::text
FROM pg_proc WHERE proacl IS NOT NULL
UNION ALL SELECT 'default', to_jsonb(a)::text FROM pg_default_acl a
UNION ALL SELECT 'extension', extname::text FROM pg_extension
ORDER BY 1, 2
"""


def snapshot(cluster: Cluster) -> list[Any]:
    """Return everything that this module could change, in every database."""
    names = [row[0] for row in cluster.rows("SELECT datname FROM pg_database WHERE datallowconn")]
    return [(name, cluster.rows(CATALOGUE, database=name)) for name in sorted(names)]


def agree(cluster: Cluster, **parameters: Any) -> Outcome:
    """Converge; prove that check mode foretold it and changed nothing, and a rerun is quiet."""
    before = snapshot(cluster)
    foretold = converge_to(cluster, check=True, **parameters)
    assert snapshot(cluster) == before
    done = converge_to(cluster, **parameters)
    assert statements(done) == statements(foretold)
    assert done.report()["diff"] == foretold.report()["diff"]
    assert statements(converge_to(cluster, check=True, **parameters)) == []
    after = snapshot(cluster)
    assert statements(converge_to(cluster, **parameters)) == []
    assert snapshot(cluster) == after
    return done


FLIGHTS: dict[str, Any] = {
    "roles": [
        {"name": "app_owner"},
        {
            "name": "app",
            "login": True,
            "password": "canary-plain",
            "connection_limit": 20,
            "valid_until": "2040-01-01",
            "settings": {"search_path": ["app", "$user", "we ird"], "statement_timeout": "30s"},
        },
        {"name": "watcher", "login": True, "member_of": ["pg_monitor", "pg_read_all_data"]},
    ],
    "databases": [
        {"name": "postgres"},
        {
            "name": "flights",
            "owner": "app_owner",
            "extensions": ["pg_trgm", {"name": "hstore", "schema": "app"}],
            "schemas": [{"name": "app"}, {"name": "audit", "owner": "app_owner"}],
            "connection_limit": 100,
        },
    ],
    "grants": [
        {"role": "app", "database": "flights", "privileges": ["connect", "TEMP"]},
        {"role": "app", "database": "flights", "schema": "app", "privileges": ["USAGE"]},
        {
            "role": "app",
            "database": "flights",
            "schema": "app",
            "tables": "all",
            "privileges": ["SELECT", "INSERT"],
        },
        {
            "role": "app",
            "database": "flights",
            "schema": "app",
            "sequences": "all",
            "privileges": ["ALL"],
        },
        {"role": "watcher", "database": "postgres", "privileges": ["CONNECT"]},
        {
            "role": "watcher",
            "database": "postgres",
            "functions": ["pg_catalog.pg_switch_wal()", "pg_create_restore_point(text)"],
            "privileges": ["EXECUTE"],
        },
    ],
    "default_privileges": [
        {
            "database": "flights",
            "owner": "app_owner",
            "schema": "app",
            "objects": "tables",
            "role": "app",
            "privileges": ["SELECT", "INSERT"],
        },
        {
            "database": "flights",
            "owner": "app_owner",
            "objects": "sequences",
            "role": "app",
            "privileges": ["USAGE"],
        },
    ],
}


def test_a_bare_server_is_brought_to_what_is_declared(cluster: Cluster) -> None:
    outcome = agree(cluster, **FLIGHTS)
    assert 'CREATE DATABASE "flights" OWNER "app_owner"' in statements(outcome)
    assert outcome.undeclared_roles == []
    found = cluster.rows(
        "SELECT has_database_privilege('app', 'flights', 'CONNECT'),"
        " has_database_privilege('watcher', 'flights', 'CONNECT'),"
        " has_database_privilege('watcher', 'postgres', 'CONNECT'),"
        " has_function_privilege('watcher', 'pg_switch_wal()', 'EXECUTE'),"
        " has_function_privilege('app', 'pg_switch_wal()', 'EXECUTE')"
    )
    assert found == [(True, False, True, True, False)]
    assert cluster.rows("SELECT setconfig FROM pg_db_role_setting") == [
        (['search_path=app, "$user", "we ird"', "statement_timeout=30s"],)
    ]


def test_the_system_and_extensions_keep_what_they_came_with(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    query = """
        SELECT count(*) FILTER (WHERE has_table_privilege('app', c.oid, 'SELECT')), count(*)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE nspname = 'information_schema' AND relkind = 'v' AND relname NOT LIKE '\\_%'
    """
    readable, total = cluster.rows(query, database="flights")[0]
    assert readable >= total - 1 > 50
    extra = "SELECT has_schema_privilege('app', 'public', 'USAGE'), similarity('a', 'a')"
    assert cluster.rows(extra, database="flights") == [(True, 1.0)]


def test_a_password_works_is_compared_and_is_in_no_log(cluster: Cluster) -> None:
    role = {"name": "app", "login": True, "password": "pässwörd-canary Ⅸ"}
    databases = [{"name": "postgres"}]
    grants = [{"role": "app", "database": "postgres", "privileges": ["CONNECT"]}]
    parameters = {"databases": databases, "grants": grants}
    agree(cluster, roles=[role], **parameters)
    with cluster.connect(user="app", password="pässwörd-canary Ⅸ") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    again = {**role, "password": "second-canary"}
    outcome = agree(cluster, roles=[again], **parameters)
    assert statements(outcome) == ["ALTER ROLE \"app\" PASSWORD '********'"]
    assert outcome.report()["diff"] == {"before": "", "after": "role app: password: changed\n"}
    with pytest.raises(psycopg.OperationalError):
        cluster.connect(user="app", password="pässwörd-canary Ⅸ")
    ((verifier,),) = cluster.rows("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
    agree(cluster, roles=[{**role, "password": verifier}], **parameters)
    agree(cluster, roles=[{"name": "app", "login": True}], **parameters)
    log = cluster.log.read_text()
    assert "CREATE ROLE" in log
    assert "canary" not in log.replace("dbops-canary", "")
    assert "SCRAM-SHA-256$" not in log
    gone = agree(
        cluster, roles=[{"name": "app", "login": True, "passwordless": True}], **parameters
    )
    assert statements(gone) == ['ALTER ROLE "app" PASSWORD NULL']


def test_an_md5_or_a_weaker_verifier_is_replaced(cluster: Cluster) -> None:
    cluster.run(f"CREATE ROLE app LOGIN PASSWORD 'md5{32 * '0'}'")
    role = {"name": "app", "login": True, "password": "x"}
    assert len(statements(agree(cluster, roles=[role]))) == 1
    assert len(statements(agree(cluster, roles=[role], scram_iterations=5000))) == 1


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


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_taken_literally(cluster: Cluster, name: str) -> None:
    other = name[:-1] + "!"
    parameters: dict[str, Any] = {
        "roles": [
            {"name": name, "login": True, "password": name, "member_of": [other]},
            {"name": other, "settings": {"search_path": [name, other], "app.name": name}},
        ],
        "databases": [
            {"name": name, "owner": other, "schemas": [{"name": name, "owner": other}]},
        ],
        "grants": [
            {"role": name, "database": name, "privileges": ["CONNECT"]},
            {"role": name, "database": name, "schema": name, "privileges": ["USAGE"]},
            {
                "role": name,
                "database": name,
                "schema": name,
                "tables": "all",
                "privileges": ["SELECT"],
                "grant_option": True,
            },
        ],
        "default_privileges": [
            {
                "database": name,
                "owner": other,
                "schema": name,
                "objects": "tables",
                "role": name,
                "privileges": ["SELECT"],
                "grant_option": True,
            }
        ],
    }
    agree(cluster, **parameters)
    place = sql.Identifier(name, name)
    cluster.run(
        sql.SQL("CREATE TABLE {} ({} int)").format(place, sql.Identifier(name)),
        sql.SQL("CREATE FUNCTION {}() RETURNS int LANGUAGE sql AS 'SELECT 1'").format(place),
        sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(
            sql.Identifier(name), place, sql.Identifier(name)
        ),
        sql.SQL("GRANT EXECUTE ON FUNCTION {}() TO {}").format(place, sql.Identifier(name)),
        database=name,
    )
    agree(cluster, **parameters)
    quoted = name.replace('"', '""')
    named = [
        *parameters["grants"][:2],
        {**parameters["grants"][2], "tables": [name]},
        {**parameters["grants"][2], "tables": [name], "columns": [name]},
        {
            "role": name,
            "database": name,
            "function": f'"{quoted}"."{quoted}"()',
            "privileges": ["EXECUTE"],
        },
    ]
    agree(cluster, **{**parameters, "grants": named})
    assert cluster.rows("SELECT datname FROM pg_database WHERE oid > 16383") == [(name,)]
    setting = "SELECT setconfig FROM pg_db_role_setting"
    assert f"app.name={name}" in cluster.rows(setting)[0][0]
    with cluster.connect(name, user=name, password=name) as connection:
        query = sql.SQL("SELECT count(*) FROM {}").format(place)
        assert connection.execute(query).fetchone() == (0,)


OBJECTS = """
CREATE TABLE app.parted (a int) PARTITION BY RANGE (a);
CREATE TABLE app.part PARTITION OF app.parted FOR VALUES FROM (0) TO (10);
CREATE VIEW app.seen AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW app.stored AS SELECT 1 AS a;
CREATE TABLE app.counted (a int GENERATED ALWAYS AS IDENTITY, b serial);
CREATE EXTENSION postgres_fdw SCHEMA public;
CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE app.far (a int) SERVER there;
"""


def test_all_tables_means_partitions_views_and_foreign_ones_too(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(OBJECTS, database="flights")
    agree(cluster, **FLIGHTS)
    query = """
        SELECT count(*), count(*) FILTER (WHERE has_table_privilege('app', c.oid, 'SELECT'))
        FROM pg_class c WHERE relnamespace = 'app'::regnamespace AND relkind = ANY('{r,p,v,m,f,S}')
    """
    assert cluster.rows(query, database="flights") == [(8, 8)]


def test_objects_made_later_are_right_by_default_and_found_when_not(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(
        "SET ROLE app_owner",
        "CREATE TABLE app.later (a int)",
        "CREATE TABLE audit.trail (a serial)",
        database="flights",
    )
    outcome = converge_to(cluster, check=True, **FLIGHTS)
    assert statements(outcome) == []
    cluster.run("CREATE TABLE app.foreign_owned (a int)", database="flights")
    assert statements(agree(cluster, **FLIGHTS)) == [
        'GRANT INSERT, SELECT ON TABLE "app"."foreign_owned" TO "app"'
    ]


def test_grant_options_that_were_passed_on_are_taken_back(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(
        "CREATE TABLE app.t (a int)",
        "GRANT USAGE ON SCHEMA app TO watcher WITH GRANT OPTION",
        "GRANT SELECT ON app.t TO watcher WITH GRANT OPTION",
        "SET ROLE watcher",
        "GRANT SELECT ON app.t TO app WITH GRANT OPTION",
        "SET ROLE app",
        "GRANT SELECT ON app.t TO PUBLIC",
        database="flights",
    )
    agree(cluster, **FLIGHTS)
    found = cluster.rows(
        "SELECT relacl::text[] FROM pg_class WHERE relname = 't'", database="flights"
    )
    assert found == [(["postgres=arwdDxt/postgres", "app=ar/postgres"],)] or (
        "postgres=arwdDxtm/postgres" in found[0][0]
    )


def test_a_new_owner_is_foretold_with_all_that_follows(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run(
        "GRANT CREATE ON DATABASE flights TO watcher", "GRANT ALL ON DATABASE flights TO app"
    )
    cluster.run("GRANT ALL ON SCHEMA audit TO watcher, app", database="flights")
    flights = {
        **FLIGHTS["databases"][1],
        "owner": "watcher",
        "schemas": [{"name": "app", "owner": "watcher"}, {"name": "audit", "owner": "app"}],
    }
    agree(cluster, **{**FLIGHTS, "databases": [FLIGHTS["databases"][0], flights]})


def test_an_undeclared_role_is_dropped_only_on_request_and_when_free(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run("CREATE ROLE free LOGIN", "CREATE ROLE owning LOGIN", "CREATE ROLE elsewhere")
    cluster.run("GRANT CONNECT ON DATABASE flights TO free", "GRANT free TO owning")
    cluster.run("GRANT CREATE ON TABLESPACE pg_default TO elsewhere")
    cluster.run("CREATE TABLE app.o ()", "ALTER TABLE app.o OWNER TO owning", database="flights")
    cluster.run("GRANT SELECT ON app.o TO free", database="flights")
    agree(cluster, **FLIGHTS)
    assert cluster.rows("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'free'") == [(False,)]
    outcome = agree(cluster, **{**FLIGHTS, "drop_undeclared_roles": True})
    assert statements(outcome) == ['DROP ROLE "free"']
    assert [text.split(" is ")[0].split(" owns ")[0] for text in outcome.warnings] == [
        "The role elsewhere",
        "The role owning",
    ]


def refuse(cluster: Cluster, **parameters: Any) -> str:
    """Return the sentence with which a declaration is refused, and prove that nothing changed."""
    before = snapshot(cluster)
    with pytest.raises(AccessError) as raised:
        converge_to(cluster, **parameters)
    assert snapshot(cluster) == before
    text = str(raised.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_what_cannot_be_meant_is_refused_before_anything_changes(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    grant = {"role": "app", "database": "flights", "schema": "app", "privileges": ["SELECT"]}

    def with_grant(**changes: Any) -> str:
        grants = [*FLIGHTS["grants"], {**grant, **changes}]
        roles = [*FLIGHTS["roles"], {"name": "new"}]
        return refuse(cluster, **{**FLIGHTS, "roles": roles, "grants": grants})

    assert "table app.nope is not there in database flights" in with_grant(tables=["nope"])
    assert "schema nope is not there" in with_grant(schema="nope", tables="all")
    assert '"SELECT" is not a privilege of a schema' in with_grant()
    signature = {"schema": None, "privileges": ["EXECUTE"]}
    assert "nope()" in with_grant(functions=["nope()"], **signature)
    assert "not there" in with_grant(functions=["a b c ('; --)"], **signature)
    assert "neither declared nor there" in with_grant(role="ghost", tables="all")
    databases = [*FLIGHTS["databases"]]
    for change, words in (
        ({"encoding": "LATIN1"}, "only a new database can change that"),
        ({"extensions": ["no such one"]}, "not installed on this host"),
        ({"owner": "ghost"}, "neither declared nor there"),
    ):
        changed = [databases[0], {**databases[1], **change}]
        assert words in refuse(cluster, **{**FLIGHTS, "databases": changed})
    role = {"name": "app", "valid_until": "next-ish"}
    assert "is not a date and time" in refuse(cluster, roles=[role])
    assert "member_of" in refuse(cluster, roles=[{"name": "app", "member_of": ["ghost"]}])
    assert "nope" in refuse(cluster, roles=[{"name": "app", "settings": {"nope": 1}}])


def test_a_failure_in_a_database_leaves_nothing_half_done_in_it(cluster: Cluster) -> None:
    agree(cluster, roles=[{"name": "app"}], databases=[{"name": "flights"}])
    cluster.run(
        "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no grants today'; END $$",
        "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('GRANT')"
        " EXECUTE FUNCTION public.refuse()",
        database="flights",
    )
    parameters: dict[str, Any] = {
        "roles": [{"name": "app"}],
        "databases": [{"name": "flights", "schemas": [{"name": "s"}], "extensions": ["pg_trgm"]}],
        "grants": [{"role": "app", "database": "flights", "schema": "s", "privileges": ["USAGE"]}],
    }
    text = refuse(cluster, **parameters)
    assert text == "Database flights: no grants today; nothing was changed in it."
    cluster.run("DROP EVENT TRIGGER refuse", database="flights")
    agree(cluster, **parameters)


def test_it_waits_for_another_run_only_so_long(cluster: Cluster) -> None:
    with cluster.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        assert refuse(cluster, roles=[{"name": "app"}]).startswith("Another run is at work: ")
        assert converge_to(cluster, check=True, roles=[]).steps == []
        assert converge_to(cluster, roles=[]).steps == []


def test_readers_and_writers_are_not_held_up(cluster: Cluster) -> None:
    agree(cluster, **FLIGHTS)
    cluster.run("CREATE TABLE app.t (a int)", database="flights")
    with cluster.connect("flights") as busy, busy.transaction():
        busy.execute("INSERT INTO app.t VALUES (1)")
        agree(cluster, **FLIGHTS)


def test_two_runs_at_once_both_end_well(cluster: Cluster) -> None:
    failures: list[Exception] = []

    def work() -> None:
        try:
            converge_to(cluster, **FLIGHTS)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert converge_to(cluster, **FLIGHTS).steps == []


def test_an_encoding_is_taken_at_creation(cluster: Cluster) -> None:
    database = {"name": "latin", "encoding": "LATIN1", "lc_collate": "C", "lc_ctype": "C"}
    agree(cluster, databases=[database], roles=[])
    query = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'latin'"
    assert cluster.rows(query) == [("LATIN1",)]


def test_a_standby_is_refused(cluster: Cluster) -> None:
    signal = cluster.data / "standby.signal"
    cluster.stop()
    signal.touch()
    shutil.chown(signal, cluster.data.owner(), cluster.data.group())
    cluster.start()
    try:
        with pytest.raises(AccessError, match="is a standby"):
            converge_to(cluster, roles=[])
    finally:
        cluster.stop()
        signal.unlink()
        cluster.start()


def test_an_unreachable_server_is_one_sentence(cluster: Cluster) -> None:
    nowhere = Server(str(cluster.directory / "nowhere"), PORT, "postgres")
    result = ArgumentSpecValidator(ARGUMENTS).validate({})
    with pytest.raises(AccessError, match=r"^The server: .*No such file") as raised:
        converge(nowhere, load(result.validated_parameters), False)
    assert "\n" not in str(raised.value)


def ansible(cluster: Cluster, parameters: dict[str, Any], *options: str) -> tuple[int, str]:
    """Run the module through Ansible; return the exit status and everything it printed."""
    arguments = {"socket_dir": str(cluster.directory), "port": PORT, **parameters}
    process = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), "localhost", "-vvv", "--diff"),
            *("-m", "postgresql_access", "-a", json.dumps(arguments), *options),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


def test_through_ansible_with_check_diff_and_no_secret_anywhere(cluster: Cluster) -> None:
    status, foretold = ansible(cluster, FLIGHTS, "--check")
    assert status == 0, foretold
    assert "CHANGED" in foretold
    assert "+role app: password: changed" in foretold
    assert cluster.rows("SELECT rolname FROM pg_roles WHERE oid > 16383") == []
    status, done = ansible(cluster, FLIGHTS)
    assert "CHANGED" in done
    status, quiet = ansible(cluster, FLIGHTS)
    assert status == 0, quiet
    assert "changed: false" in quiet.replace('"changed": false', "changed: false")
    role = {**FLIGHTS["roles"][1], "pasword": "x"}
    status, refused = ansible(cluster, {"roles": [role]})
    assert status == 2, refused
    assert "pasword" in refused
    for output in (foretold, done, quiet, refused):
        assert "canary-plain" not in output
        assert "Traceback" not in output
