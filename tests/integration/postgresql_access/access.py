"""Converging, with what must hold each time, and a declaration to start from."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from plugins.module_utils.postgresql_access.converge import Outcome, converge
from plugins.module_utils.postgresql_access.declaration import load
from plugins.module_utils.postgresql_access.names import AccessError
from plugins.modules.postgresql_access import ARGUMENTS
from tests.integration.cluster import Cluster

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


def converge_to(cluster: Cluster, check: bool = False, **parameters: Any) -> Outcome:
    """Run the module's logic with arguments checked as Ansible does."""
    result = ArgumentSpecValidator(ARGUMENTS).validate(parameters)
    assert not result.error_messages, result.error_messages
    return converge(cluster.server, load(result.validated_parameters), check)


def statements(outcome: Outcome) -> list[str]:
    """Return the statements of an outcome."""
    return [text for step in outcome.steps for text in step.texts()]


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
