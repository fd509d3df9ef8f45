"""The audit, on a real server: what was declared passes, and what was smuggled in is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dbops.engines.postgresql.controls import rights
from dbops.engines.postgresql.controls.facts import Facts
from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree
from tests.integration.postgresql_access.test_every_kind import smuggle
from tests.unit.postgresql.test_audit import make_facts

WATCHER = {"watcher": ["pg_monitor", "pg_read_all_data"]}


def facts_of(cluster: Cluster, tmp_path: Path, grants: Sequence[dict[str, Any]]) -> Facts:
    def rows(query: str, database: str = "postgres") -> Sequence[tuple[Any, ...]]:
        return cluster.rows(query, database=database)

    version = str(cluster.rows("SHOW server_version_num")[0][0])
    facts = make_facts(
        tmp_path, {"server_version_num": version}, memberships=WATCHER, grants=list(grants)
    )
    return replace(facts, rows=rows, databases=("flights", "postgres", "template1"))


def test_what_was_declared_passes(cluster: Cluster, tmp_path: Path) -> None:
    grants = [
        *FLIGHTS["grants"],
        {"role": "app", "parameters": ["Work_Mem"], "privileges": ["SET"]},
        {"role": "app", "database": "flights", "languages": ["sql"], "privileges": ["USAGE"],
         "grant_option": True},
    ]  # fmt: skip
    agree(cluster, **{**FLIGHTS, "grants": grants})
    facts = facts_of(cluster, tmp_path, grants)
    assert rights.memberships(facts) == []
    assert rights.undeclared(facts) == []
    assert len(rights.undeclared(facts_of(cluster, tmp_path, []))) == 4


def test_what_was_smuggled_in_is_named(cluster: Cluster, tmp_path: Path) -> None:
    smuggle(cluster)
    cluster.run(
        "GRANT pg_execute_server_program TO app", "GRANT pg_monitor TO app WITH ADMIN OPTION"
    )
    cluster.run("GRANT SELECT (rolpassword) ON pg_authid TO app", database="flights")
    facts = facts_of(cluster, tmp_path, FLIGHTS["grants"])
    assert set(rights.memberships(facts)) == {
        "role 'app' is a member of 'pg_execute_server_program' and is not declared so",
        "role 'app' is a member of 'pg_monitor' and is not declared so",
        "role 'pg_monitor' is a member of 'app_owner' and is not declared so",
    }
    found = {line.removesuffix(" and is not declared so") for line in rights.undeclared(facts)}
    assert found == {
        "'app' holds rights on parameter shared_preload_libraries",
        "'evil' holds rights on parameter archive_command",
        "'evil' holds rights on parameter dbops.custom",
        "'watcher' holds rights on parameter shared_preload_libraries",
        "'PUBLIC' holds rights on tablespace pg_default",
        "'PUBLIC' holds rights on tablespace pg_global",
        "'app' holds rights on foreign server files of 'flights'",
        "'watcher' holds rights on foreign server files of 'flights'",
        "'PUBLIC' holds rights on foreign server there of 'flights'",
        "'evil' holds rights on foreign data wrapper file_fdw of 'flights'",
        "'evil' holds rights on foreign data wrapper postgres_fdw of 'flights'",
        "'evil' holds rights on language plpgsql of 'flights'",
        "'evil' holds rights on language sql of 'flights'",
        "'PUBLIC' holds rights on large object 70001 of 'flights'",
        "'evil' holds rights on large object 70002 of 'flights'",
        "'evil' holds rights on function lo_import of 'flights'",
        "'evil' holds rights on function lo_export of 'flights'",
        "'app' holds rights on table pg_authid of 'flights'",
        "'evil' holds rights on type int4 of 'flights'",
    }
    agree(cluster, **FLIGHTS)
    assert rights.memberships(facts) == []
    assert rights.undeclared(facts) == []
