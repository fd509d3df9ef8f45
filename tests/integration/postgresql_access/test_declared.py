"""What is declared is there afterwards: databases, privileges and passwords."""

from __future__ import annotations

import psycopg
import pytest

from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, statements


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
    log = cluster.log.read_text(errors="replace")  # other tests have servers say other bytes
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


def test_an_encoding_is_taken_at_creation(cluster: Cluster) -> None:
    database = {"name": "latin", "encoding": "LATIN1", "lc_collate": "C", "lc_ctype": "C"}
    agree(cluster, databases=[database], roles=[])
    query = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'latin'"
    assert cluster.rows(query) == [("LATIN1",)]
