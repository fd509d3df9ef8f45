"""What cannot be done is one sentence, and nothing is half done."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from plugins.module_utils.postgresql_access.converge import Server, converge
from plugins.module_utils.postgresql_access.declaration import load
from plugins.module_utils.postgresql_access.names import AccessError
from plugins.modules.postgresql_access import ARGUMENTS
from tests.integration.cluster import PORT, Cluster
from tests.integration.postgresql_access.access import FLIGHTS, agree, converge_to, refuse


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
