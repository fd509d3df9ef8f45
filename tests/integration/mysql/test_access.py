"""Accounts of a real server are brought to what is declared, whatever was given to them before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from dbops.engines.mysql import client
from plugins.module_utils.mysql_access.converge import converge
from plugins.modules.mysql_access import ARGUMENTS
from tests.integration.mysql.machine import Member

ROOT = Path(__file__).parents[3]
AUDIT = "server_audit_logging = ON\nserver_audit_file_path = /nonexistent/audit.log"
DECLARED: dict[str, Any] = {
    "users": [
        {"name": "root", "host": "localhost", "plugin": "unix_socket"},
        {"name": "mysql", "host": "localhost", "plugin": "unix_socket"},
        {"name": "app", "host": "10.%", "password": "a long password 1", "roles": ["writer"]},
        {"name": "other", "host": "localhost", "password": "a long password 2"},
    ],
    "roles": [{"name": "writer"}, {"name": "we'ird`"}],
    "databases": [{"name": "app"}],
    "grants": [
        {"user": "mysql", "host": "localhost", "privileges": ["PROCESS"]},
        {"role": "writer", "database": "app", "privileges": ["SELECT", "INSERT"]},
        {"role": "writer", "privileges": ["SHOW DATABASES"]},
        {"role": "we'ird`", "privileges": ["ALL"], "grant_option": True},
        {"role": "PUBLIC", "database": "app", "privileges": ["SELECT"]},
        {"role": "PUBLIC", "privileges": ["SHOW DATABASES"]},
    ],
}
SMUGGLED = [
    "GRANT SUPER, FILE ON *.* TO writer",
    "GRANT SELECT ON *.* TO PUBLIC",
    "GRANT SELECT ON mysql.* TO PUBLIC",
    "GRANT PROXY ON 'root'@'localhost' TO 'app'@'10.%' WITH GRANT OPTION",
    "GRANT PROXY ON ''@'%' TO 'other'@'localhost'",
    "GRANT writer TO 'app'@'10.%' WITH ADMIN OPTION",
    "GRANT writer TO PUBLIC",
    "CREATE ROLE evil",
    "GRANT evil TO writer",
    "GRANT FILE ON *.* TO evil WITH GRANT OPTION",
    "ALTER USER 'mariadb.sys'@'localhost' IDENTIFIED BY 'known' ACCOUNT UNLOCK",
    "GRANT ALL ON *.* TO 'mariadb.sys'@'localhost'",
    "GRANT ALL ON mysql.* TO 'mariadb.sys'@'localhost'",
    "CREATE TABLE app.t (a int, b int)",
    "CREATE SEQUENCE app.s",
    "CREATE PROCEDURE app.p() SELECT 1",
    "CREATE FUNCTION app.f() RETURNS int DETERMINISTIC RETURN 1",
    "GRANT SELECT (a), UPDATE (b) ON app.t TO 'other'@'localhost' WITH GRANT OPTION",
    "GRANT ALL ON app.s TO PUBLIC",
    "GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE app.p TO 'other'@'localhost' WITH GRANT OPTION",
    "GRANT EXECUTE ON FUNCTION app.f TO PUBLIC",
    "SET sql_mode = ORACLE",
    "CREATE PACKAGE app.k AS FUNCTION f RETURN INT; END",
    "CREATE PACKAGE BODY app.k AS FUNCTION f RETURN INT AS BEGIN RETURN 1; END; END",
    "GRANT EXECUTE ON PACKAGE app.k TO writer",
    "GRANT EXECUTE, ALTER ROUTINE ON PACKAGE BODY app.k TO 'other'@'localhost' WITH GRANT OPTION",
]
LOCKED = (
    "SELECT JSON_VALUE(Priv, '$.account_locked') FROM mysql.global_priv WHERE User = 'mariadb.sys'"
)


@pytest.fixture
def server(programs: None, folder: Path) -> Iterator[Member]:
    found = Member(folder / "own", more="plugin-load-add=auth_ed25519").install().start()
    yield found
    found.stop()


def converge_to(server: Member, check: bool = False, **declared: Any) -> dict[str, Any]:
    result = ArgumentSpecValidator(ARGUMENTS).validate({**declared, "socket": str(server.socket)})
    assert not result.error_messages, result.error_messages
    return converge(str(server.socket), result.validated_parameters, check)


def grants(server: Member) -> dict[str, list[str]]:
    """Return the server's own words for what everybody holds."""
    found = {}
    query = "SELECT User, Host, JSON_VALUE(Priv, '$.is_role') FROM mysql.global_priv"
    for user, host, is_role in server.rows(query):
        name = "PUBLIC" if user == "PUBLIC" else client.name(str(user))
        whom = name if is_role else f"{name}@{client.name(str(host))}"
        lines = server.rows(f"SHOW GRANTS FOR {whom}")
        found[f"{user}@{host}"] = [str(row[0]).partition(" IDENTIFIED")[0] for row in lines]
    return found


def agree(server: Member, **declared: Any) -> dict[str, Any]:
    """Converge; prove that check mode foretold it and changed nothing, and a rerun is quiet."""
    before = grants(server)
    foretold = converge_to(server, check=True, **declared)
    assert grants(server) == before
    done = converge_to(server, **declared)
    assert len(done["statements"]) == len(foretold["statements"])
    assert done["diff"] == foretold["diff"]
    assert converge_to(server, check=True, **declared)["statements"] == []
    assert converge_to(server, **declared)["changed"] is False
    return done


def test_whatever_was_smuggled_in_is_taken_back(server: Member) -> None:
    agree(server, **DECLARED)
    fresh = grants(server)
    server.run(*SMUGGLED)
    assert grants(server) != fresh

    before = agree(server, **DECLARED)["diff"]["before"]

    left = grants(server)
    assert left.pop("evil@") == ["GRANT USAGE ON *.* TO `evil`"]
    root = left["root@localhost"]
    root.remove("GRANT `evil` TO `root`@`localhost` WITH ADMIN OPTION")  # as who made it
    assert left == fresh
    assert "GRANT PROXY ON ``@`%` TO `root`@`localhost` WITH GRANT OPTION" in root
    assert server.value(LOCKED) == "1"
    for line in (
        "writer: SUPER on *.*",
        "PUBLIC: SELECT on *.*",
        "app@10.%: PROXY on account root@localhost",
        "app@10.% may pass writer on",
        "PUBLIC has writer",
        "PUBLIC: EXECUTE on FUNCTION app.f",
        "writer: EXECUTE on PACKAGE app.k",
        "other@localhost: GRANT OPTION on PACKAGE BODY app.k",
        "mariadb.sys@localhost: SUPER on *.*",
    ):
        assert f"{line}\n" in before, line


def test_a_declared_package_is_given(server: Member) -> None:
    server.run("CREATE DATABASE app")
    server.run("SET sql_mode = ORACLE", "CREATE PACKAGE app.k AS FUNCTION f RETURN INT; END")
    grant = {"role": "writer", "database": "app", "routines": ["PACKAGE k"], "privileges": ["ALL"]}
    agree(server, **{**DECLARED, "grants": [*DECLARED["grants"], grant]})
    assert (
        "GRANT EXECUTE, ALTER ROUTINE ON PACKAGE `app`.`k` TO `writer`" in grants(server)["writer@"]
    )


def test_the_audit_plugin_of_the_role_s_configuration_stays(programs: None, folder: Path) -> None:
    role = yaml.safe_load((ROOT / "roles/mysql/vars/main.yml").read_text())
    lines = [f"plugin_load_add = {name}" for name in role["__mysql_plugins"]["mariadb"]]
    lines += [
        f"{name} = {value}"
        for name, value in role["__mysql_fixed_mariadb"].items()
        if value == "FORCE_PLUS_PERMANENT"
    ]
    server = Member(folder / "own", more="\n".join([*lines, AUDIT])).install().start()
    try:
        for name in role["__mysql_plugins"]["mariadb"]:
            with pytest.raises(pymysql.Error, match="force_plus_permanent"):
                server.run(f"UNINSTALL SONAME '{name}'")
    finally:
        server.stop()
