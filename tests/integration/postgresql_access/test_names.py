"""Names are taken literally, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import sql

from tests.integration.cluster import Cluster
from tests.integration.postgresql_access.access import agree

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
