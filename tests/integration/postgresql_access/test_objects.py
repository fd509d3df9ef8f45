"""Privileges on tables and their like: all kinds, later ones, passed on, under a new owner."""

from __future__ import annotations

from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, converge_to, statements

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
