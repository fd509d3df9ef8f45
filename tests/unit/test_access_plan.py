"""From a declaration and a catalogue made by hand to the SQL of ``postgresql_access``."""

from __future__ import annotations

import base64
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from plugins.module_utils.postgresql_access import scram
from plugins.module_utils.postgresql_access.catalog import (
    ClusterNow,
    Held,
    Membership,
    RoleNow,
    Target,
)
from plugins.module_utils.postgresql_access.declaration import FLAGS, Declaration, load
from plugins.module_utils.postgresql_access.names import PUBLIC, AccessError, check_name, shown
from plugins.module_utils.postgresql_access.privileges import plan_privileges
from plugins.module_utils.postgresql_access.roles import plan_roles, split_names
from plugins.module_utils.postgresql_access.step import Step, difference
from plugins.modules import postgresql_access, postgresql_state
from plugins.modules.postgresql_access import ARGUMENTS

TABLE = Target("table", "app", "flights")
OFF = {flag: flag == "inherit" for flag in FLAGS}


def declare(**parameters: Any) -> Declaration:
    """Return what the module makes of its arguments."""
    result = ArgumentSpecValidator(ARGUMENTS).validate(parameters)
    if result.error_messages:
        raise AccessError(result.error_messages[0])
    return load(result.validated_parameters)


def cluster(*roles: RoleNow, version: int = 15, memberships: Any = ()) -> ClusterNow:
    """Return a server with these roles and ``postgres``."""
    owner = RoleNow("postgres", {**OFF, "login": True, "superuser": True}, untouchable=True)
    return ClusterNow(
        version, {role.name: role for role in (owner, *roles)}, tuple(memberships), {}
    )


def texts(steps: list[Step]) -> list[str]:
    """Return the statements as they are shown."""
    return [text for step in steps for text in step.texts()]


def held(grantee: str, privilege: str = "SELECT", **changes: Any) -> Held:
    """Return a privilege on a table of ``owner``."""
    row = Held(TABLE, grantee, privilege, False, "owner", "owner")
    return replace(row, **changes)


def privileges(
    rows: list[Held], wishes: dict[tuple[Target, str, str], bool], **changes: Any
) -> list[str]:
    """Return the statements for one database."""
    arguments: dict[str, Any] = {
        "owner": lambda target: "owner",
        "tolerated": lambda row: False,
        "untouched": {"postgres"},
        "exact": True,
    }
    return texts(plan_privileges("db", rows, wishes, **{**arguments, **changes}))


def test_a_verifier_is_that_of_the_rfc() -> None:
    """RFC 7677, section 3: user, pencil, 4096 iterations."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    expected = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert scram.verifier("pencil", 4096, salt) == expected
    assert scram.matches("pencil", expected)
    assert scram.matches(expected, expected)
    assert not scram.matches("pencils", expected)
    assert not scram.matches("pencil", expected, iterations=5000)
    assert not scram.matches("pencil", None)
    assert not scram.matches("pencil", "md5" + 32 * "0")


@pytest.mark.parametrize(
    ("password", "same"),
    [("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_passwords_are_prepared_as_the_rfc_says(password: str, same: str) -> None:
    assert scram.prepare(password) == same.encode()


@pytest.mark.parametrize("password", ["\u0627\u0031", "a\x07\u00e9", "\u0221"])
def test_a_password_that_cannot_be_prepared_is_taken_as_it_is(password: str) -> None:
    assert scram.prepare(password) == password.encode()


@pytest.mark.parametrize("name", ["", "a\0b", "ä" * 32, "x" * 64, "\ud800"])
def test_a_name_that_cannot_be_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(AccessError) as raised:
        check_name(name, "roles")
    text = str(raised.value)
    assert text.startswith("roles: ")
    assert text.endswith(".")
    assert "\n" not in text
    text.encode()


@pytest.mark.parametrize("name", ["a;touch x", "$(id)", "-rf", "a\"b'c", "a\nb", "ü", "x" * 63])
def test_any_other_name_is_taken(name: str) -> None:
    assert check_name(name, "roles") == name
    assert "\n" not in shown(name)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"roles": [{"name": "a", "pasword": "x"}]}, "pasword"),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "declared twice"),
        ({"roles": [{"name": "postgres"}]}, "is protected"),
        ({"roles": [{"name": "pg_mine"}]}, "keeps this name"),
        ({"roles": [{"name": "PUBLIC"}]}, "keeps this name"),
        ({"roles": [{"name": "a", "password": ""}]}, "password is empty"),
        ({"roles": [{"name": "a", "password": "x", "passwordless": True}]}, "exclude"),
        ({"roles": [{"name": "a", "settings": {"x y": 1}}]}, "not the name of a setting"),
        ({"databases": [{"name": "template0"}]}, "takes no connections"),
        ({"databases": [{"name": "d", "extensions": [{"nam": "x"}]}]}, "an extension is"),
        ({"databases": [{"name": "d", "extensions": [{"name": "x", "n": 1}]}]}, "no key n"),
        ({"grants": [{"role": "a", "database": "d", "privileges": ["ALL"]}]}, "not declared"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_sentence(
    parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(AccessError, match=words):
        declare(**parameters)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"tables": "all"}, "needs a schema"),
        ({"tables": "some", "schema": "s"}, 'must be "all" or a list'),
        ({"tables": "all", "sequences": "all", "schema": "s"}, "a grant each"),
        ({"functions": ["now"]}, "not a full signature"),
        ({"functions": ["now()"], "schema": "s"}, "leave out schema"),
        ({"function": "now()", "functions": ["now()"]}, "exclude"),
        ({"columns": ["a"], "schema": "s", "tables": "all"}, "columns need tables"),
        ({"privileges": []}, "must not be empty"),
    ],
)
def test_a_wrong_grant_is_refused_naming_it(rule: dict[str, Any], words: str) -> None:
    grant = {"role": "a", "database": "d", "privileges": ["SELECT"], **rule}
    with pytest.raises(AccessError, match=f"^Grant 1: .*{words}"):
        declare(databases=[{"name": "d"}], grants=[grant])


def test_a_new_role_comes_with_everything_and_its_password_is_masked() -> None:
    wanted = declare(
        roles=[
            {
                "name": "app",
                "login": True,
                "password": "canary-secret",
                "connection_limit": 3,
                "settings": {"search_path": ["app", "a b"], "jit": False},
                "member_of": ["app_group"],
            },
            {"name": "app_group"},
        ]
    )
    steps = plan_roles(cluster(), wanted, {})
    assert texts(steps) == [
        'CREATE ROLE "app" LOGIN CONNECTION LIMIT 3',
        "ALTER ROLE \"app\" PASSWORD '********'",
        'ALTER ROLE "app" SET "jit" TO \'off\'',
        "ALTER ROLE \"app\" SET \"search_path\" TO 'app', 'a b'",
        'CREATE ROLE "app_group"',
        'GRANT "app_group" TO "app"',
    ]
    everything = repr([step.statement.as_string(None) for step in steps]) + repr(difference(steps))
    assert "canary-secret" not in everything
    assert "role app: password: changed\n" in difference(steps)["after"]
    assert "canary-secret" not in repr(wanted)


def test_a_role_that_is_right_is_left_alone() -> None:
    verifier = scram.verifier("pencil")
    role = RoleNow(
        "app",
        {**OFF, "login": True},
        verifier=verifier,
        settings={"": {"search_path": 'app, "a b"', "work_mem": "4MB"}},
    )
    wanted = declare(
        roles=[
            {
                "name": "app",
                "login": True,
                "password": "pencil",
                "settings": {"search_path": 'app, "a b"', "work_mem": "4MB"},
            }
        ]
    )
    assert plan_roles(cluster(role), wanted, {}) == []


def test_exact_takes_back_what_a_role_should_not_have() -> None:
    role = RoleNow(
        "app",
        {**OFF, "superuser": True},
        connection_limit=5,
        valid_until="2030-01-01 00:00:00+00",
        settings={"": {"jit": "off"}, "d": {"jit": "on"}, "other": {"jit": "on"}},
    )
    rows = [Membership("pg_monitor", "app", "postgres", True)]
    wanted = declare(roles=[{"name": "app"}], databases=[{"name": "d"}])
    assert texts(plan_roles(cluster(role, memberships=rows), wanted, {})) == [
        "ALTER ROLE \"app\" NOSUPERUSER CONNECTION LIMIT -1 VALID UNTIL 'infinity'",
        'ALTER ROLE "app" RESET "jit"',
        'ALTER ROLE "app" IN DATABASE "d" RESET "jit"',
        'REVOKE "pg_monitor" FROM "app" CASCADE',
    ]
    additive = declare(roles=[{"name": "app"}], databases=[{"name": "d"}], exact=False)
    assert plan_roles(cluster(role, memberships=rows), additive, {}) == []


def test_an_undeclared_role_is_locked_and_a_protected_one_is_not() -> None:
    evil = RoleNow("evil", {**OFF, "login": True, "superuser": True})
    kept = RoleNow("dba_ann", {**OFF, "login": True, "superuser": True})
    rows = [Membership("pg_monitor", name, "postgres", False) for name in ("evil", "dba_ann")]
    wanted = declare(roles=[], protected_roles=["dba_*"])
    assert texts(plan_roles(cluster(evil, kept, memberships=rows), wanted, {})) == [
        'ALTER ROLE "evil" NOLOGIN NOSUPERUSER',
        'REVOKE "pg_monitor" FROM "evil"',
    ]
    assert plan_roles(cluster(evil), declare(), {}) == []


def test_memberships_name_options_and_grantor_since_version_16() -> None:
    app = RoleNow("app", OFF)
    rows = [
        Membership("a", "app", "postgres", False, inherit=False),
        Membership("b", "app", "boss", True),
        Membership("gone", "app", "boss", False),
    ]
    group = [{"name": name} for name in ("a", "b", "c")]
    wanted = declare(roles=[{"name": "app", "member_of": ["a", "b", "c"]}, *group])
    found = texts(plan_roles(cluster(app, version=17, memberships=rows), wanted, {}))
    assert [text for text in found if not text.startswith("CREATE")] == [
        'REVOKE ADMIN OPTION FOR "b" FROM "app" GRANTED BY "boss" CASCADE',
        'REVOKE "gone" FROM "app" GRANTED BY "boss"',
        'GRANT "a" TO "app" WITH INHERIT TRUE, SET TRUE GRANTED BY "postgres"',
        'GRANT "c" TO "app" WITH INHERIT TRUE, SET TRUE',
    ]


def test_a_membership_in_a_role_that_would_be_locked_is_refused() -> None:
    other = RoleNow("other", OFF)
    wanted = declare(roles=[{"name": "app", "member_of": ["other"]}])
    with pytest.raises(AccessError, match="there but not declared"):
        plan_roles(cluster(other), wanted, {})
    with pytest.raises(AccessError, match="neither declared nor there"):
        plan_roles(cluster(), wanted, {})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("app, public", ("app", "public")),
        ('"$user", "a,b","c""d"', ("$user", "a,b", 'c"d')),
        ("$user,App", ("$user", "App")),
    ],
)
def test_lists_of_names_are_split_as_sql_does(text: str, names: tuple[str, ...]) -> None:
    assert split_names(text) == names


def test_privileges_are_given_in_one_statement_for_many_tables() -> None:
    tables = [Target("table", "app", name) for name in ("b", "a")]
    wishes = {(table, "app", p): False for table in tables for p in ("SELECT", "INSERT")}
    assert privileges([], wishes) == [
        'GRANT INSERT, SELECT ON TABLE "app"."a", "app"."b" TO "app"',
    ]


def test_what_is_declared_or_not_ours_is_left_alone() -> None:
    rows = [
        held("app"),
        held("owner", "DELETE"),
        held("postgres", grantor="owner"),
        held(PUBLIC, kept=True),
        held("later"),
    ]
    tolerated = lambda row: row.grantee == "later"  # noqa: E731
    wishes = {(TABLE, "app", "SELECT"): False, (TABLE, "owner", "UPDATE"): False}
    assert privileges(rows, wishes, tolerated=tolerated) == []


def test_what_is_not_declared_is_taken_back_unless_additive() -> None:
    rows = [held("app"), held("app", "DELETE"), held(PUBLIC)]
    wishes = {(TABLE, "app", "SELECT"): False}
    assert privileges(rows, wishes) == [
        'REVOKE SELECT ON TABLE "app"."flights" FROM PUBLIC',
        'REVOKE DELETE ON TABLE "app"."flights" FROM "app"',
    ]
    assert privileges(rows, wishes, exact=False) == []


def test_a_chain_of_grants_is_taken_back_from_its_end() -> None:
    rows = [
        held("a", grantable=True),
        held("b", grantor="a", grantable=True),
        held("c", grantor="b"),
    ]
    assert privileges(rows, {}) == [
        'SET LOCAL ROLE "b"',
        'REVOKE SELECT ON TABLE "app"."flights" FROM "c"',
        "RESET ROLE",
        'SET LOCAL ROLE "a"',
        'REVOKE SELECT ON TABLE "app"."flights" FROM "b" CASCADE',
        "RESET ROLE",
        'REVOKE SELECT ON TABLE "app"."flights" FROM "a" CASCADE',
    ]


def test_what_falls_with_a_grant_option_is_given_again() -> None:
    rows = [held("a", grantable=True), held("b", grantor="a")]
    wishes = {(TABLE, "a", "SELECT"): False, (TABLE, "b", "SELECT"): False}
    assert privileges(rows, wishes) == [
        'REVOKE GRANT OPTION FOR SELECT ON TABLE "app"."flights" FROM "a" CASCADE',
        'GRANT SELECT ON TABLE "app"."flights" TO "b"',
    ]


def test_a_column_privilege_that_falls_with_the_table_is_given_again() -> None:
    column = Target("column", "app", "flights", "dep time")
    rows = [held("app"), held("app", target=column)]
    assert privileges(rows, {(column, "app", "SELECT"): False}) == [
        'REVOKE SELECT ON TABLE "app"."flights" FROM "app"',
        'GRANT SELECT ("dep time") ON TABLE "app"."flights" TO "app"',
    ]


def test_default_privileges_name_the_owner_and_the_schema() -> None:
    future = Target("default tables", "app", "owner")
    every = Target("default functions", "", "owner")
    rows = [held("evil", "EXECUTE", target=every)]
    assert privileges(rows, {(future, "app", "SELECT"): True}) == [
        'ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE EXECUTE ON FUNCTIONS FROM "evil"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "app" GRANT SELECT ON TABLES'
        ' TO "app" WITH GRANT OPTION',
    ]


def check_documented(documented: dict[str, Any], options: dict[str, Any]) -> None:
    """Compare what a module says about its options with what it takes."""
    assert set(documented) == set(options)
    for name, option in options.items():
        for key in ("type", "elements", "default", "required", "choices"):
            assert documented[name].get(key) == option.get(key), (name, key)
        if "options" in option:
            check_documented(documented[name]["suboptions"], option["options"])


@pytest.mark.parametrize("module", [postgresql_access, postgresql_state])
def test_the_documentation_is_that_of_the_arguments(module: ModuleType) -> None:
    check_documented(yaml.safe_load(module.DOCUMENTATION)["options"], module.ARGUMENTS)
    assert yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN)
