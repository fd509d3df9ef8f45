"""The worst that the kit's own accounts can read, on a server that has them as the role does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, converge_to

ROLE: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "roles/postgresql/vars/main.yml").read_text()
)
PASSWORD = "a-password-for-tests"
SECRETS = [
    "CREATE EXTENSION pg_stat_statements SCHEMA public",
    "CREATE EXTENSION postgres_fdw SCHEMA public",
    "CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE USER MAPPING FOR app SERVER there OPTIONS (password 'canary')",
    "CREATE TABLE app.t (a text)",
    "INSERT INTO app.t VALUES ('canary')",
    "SELECT lo_from_bytea(70001, 'canary')",
    "CREATE SUBSCRIPTION s CONNECTION 'password=canary' PUBLICATION p WITH (connect = false)",
]
READS = [
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SELECT subconninfo FROM pg_subscription",
    "SELECT umoptions FROM pg_user_mapping",
    "SELECT * FROM pg_largeobject",
    "SELECT stavalues1 FROM pg_statistic",
    "SELECT * FROM app.t",
    "SELECT lo_get(70001)",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_read_binary_file('global/pg_control')",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT * FROM pg_hba_file_rules",
]


@pytest.fixture(scope="module")
def kit(programs: Path) -> Iterator[Cluster]:
    """A server with the settings of the role that matter here, its accounts and some secrets."""
    directory = Path(tempfile.mkdtemp(prefix="dbops-own-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    cluster = Cluster(directory, programs)
    try:
        cluster.start()
        cluster.stop()
        names = ("shared_preload_libraries", "pg_stat_statements.track_utility")
        with (cluster.data / "postgresql.conf").open("a") as stream:
            stream.writelines(f"{n} = '{ROLE['__postgresql_fixed'][n]}'\n" for n in names)
        cluster.start()
        converge_to(cluster, **declared())
        cluster.run(*SECRETS, database="flights")
        cluster.run("GRANT CONNECT ON DATABASE flights TO dbops_monitor, dbops_heartbeat")
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(directory)


def declared() -> dict[str, Any]:
    """Return the role's own accounts beside those of the flights."""
    roles = []
    for role in ROLE["__postgresql_own_roles"]:
        members = ROLE["__postgresql_own_memberships"].get(role["name"], [])
        roles.append({**role, "password": PASSWORD, "member_of": members})
    return {
        "roles": [*roles, *FLIGHTS["roles"]],
        "databases": [*ROLE["__postgresql_own_databases"], FLIGHTS["databases"][1]],
        "grants": [*ROLE["__postgresql_own_grants"], *FLIGHTS["grants"]],
        "default_privileges": ROLE["__postgresql_own_defaults"],
    }


@pytest.mark.parametrize("account", ["dbops_monitor", "dbops_heartbeat"])
def test_who_watches_reads_no_secret(kit: Cluster, account: str) -> None:
    allowed = []
    with kit.connect("flights", user=account, password=PASSWORD) as connection:
        for query in READS:
            try:
                connection.execute(query.encode())
                allowed.append(query)
            except psycopg.errors.InsufficientPrivilege:
                pass
    assert allowed == []


def test_who_watches_finds_no_password_among_the_statements(kit: Cluster) -> None:
    kit.run("SELECT pg_stat_statements_reset()", database="flights")
    kit.run(
        "SELECT 'canary'",
        "ALTER ROLE app PASSWORD 'canary'",
        "ALTER USER MAPPING FOR app SERVER there OPTIONS (SET password 'canary')",
        database="flights",
    )
    with kit.connect("flights", user="dbops_monitor", password=PASSWORD) as connection:
        rows = connection.execute("SELECT query FROM pg_stat_statements").fetchall()
    texts = [str(row[0]) for row in rows]
    assert "SELECT $1" in texts
    assert [text for text in texts if "canary" in text] == []
