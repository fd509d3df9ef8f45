"""Accounts of MySQL and MariaDB: what is stored for a password, and the statements of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plugins.module_utils.mysql_access import catalog, catalog_mysql, sha2
from plugins.module_utils.mysql_access.catalog import Now, UserNow
from plugins.module_utils.mysql_access.declaration import Right, Target, load
from plugins.module_utils.mysql_access.dialect import MARIADB, MYSQL, Dialect, of
from plugins.module_utils.mysql_access.names import AccessError, Grantee
from plugins.module_utils.mysql_access.plan import Step, plan

# What MySQL 9.7 stored for 'abcDEF123!xyz'.
STORED = (
    "24412430304124380F7654554B307D103C7E643B1505262A57590948504A5033"
    "5664694C444C7A334463556431336D686B724D397A6A41414F566C693167482E753246536E33"
)
NOTHING = Now({}, frozenset(), frozenset(), {}, frozenset(), test_is_empty=False)
LEVELS = {
    "global": ["BINLOG_ADMIN", "SELECT"],
    "database": ["INSERT", "SELECT"],
    "table": ["SELECT"],
    "column": ["SELECT"],
    "routine": ["EXECUTE"],
}


def declared(dialect: Dialect, **more: Any) -> list[Step]:
    now: Now = more.pop("now", NOTHING)
    parameters = {
        "exact": True, "superusers": ["root@localhost"], "drop_undeclared": False,
        "users": [], "roles": [], "databases": [], "grants": [], **more,
    }  # fmt: skip
    return plan(now, load(parameters, LEVELS, dialect))


def user(**more: Any) -> dict[str, Any]:
    return {"name": "app", "host": "10.%", "require": "SSL", "locked": False, **more}


def stored(secret: str = STORED, plugin: str = "caching_sha2_password") -> Now:
    grantee = Grantee("app", "10.%")
    limits = dict.fromkeys(
        ("max_queries_per_hour", "max_updates_per_hour", "max_connections_per_hour",
         "max_user_connections"), 0,
    )  # fmt: skip
    known = UserNow(grantee, plugin, secret, "SSL", limits, False, "", False)
    return replace(NOTHING, users={grantee: known})


def test_the_password_of_a_stored_digest_is_known_again() -> None:
    assert sha2.same(STORED, "abcDEF123!xyz")
    assert not sha2.same(STORED, "abcDEF123!xyZ")
    assert not sha2.same("", "abcDEF123!xyz")


def test_each_digest_has_a_salt_of_its_own_and_is_taken_as_it_is() -> None:
    one, other = sha2.stored("Ünïcode and blanks"), sha2.stored("Ünïcode and blanks")
    assert one != other
    assert len(one) == 70
    assert sha2.same(one.hex(), "Ünïcode and blanks")
    assert sha2.stored(one.decode()) == one
    assert sha2.same(one.hex(), one.decode())


def test_mysql_gets_a_digest_and_nobody_is_shown_it() -> None:
    (step,) = declared(MYSQL, users=[user(password="a long password")])
    head = "CREATE USER 'app'@'10.%' IDENTIFIED WITH caching_sha2_password AS "
    assert step.statement.startswith(head + "0x2441243030412")
    assert step.shown is not None
    assert step.shown.startswith(head + "'********' REQUIRE SSL")


def test_mariadb_gets_what_it_always_got() -> None:
    (step,) = declared(MARIADB, users=[user(password="a long password")])
    assert step.statement.startswith("CREATE USER 'app'@'10.%' IDENTIFIED VIA ed25519 USING '")
    assert step.shown is not None
    assert "VIA ed25519 USING '********' REQUIRE SSL WITH MAX_CONN" in step.shown
    (step,) = declared(MARIADB, users=[user(plugin="unix_socket")])
    assert "IDENTIFIED VIA unix_socket REQUIRE SSL" in step.statement


def test_an_account_over_the_socket_has_each_server_s_own_plugin() -> None:
    (step,) = declared(MYSQL, users=[user(plugin="unix_socket")])
    assert "IDENTIFIED WITH auth_socket REQUIRE SSL" in step.statement
    with pytest.raises(AccessError, match="auth_socket takes no password"):
        declared(MYSQL, users=[user(plugin="unix_socket", password="x" * 20)])


def test_an_account_without_a_password_gets_one_that_nobody_knows() -> None:
    (step,) = declared(MYSQL, users=[user()])
    assert " AS 0x" in step.statement


def test_an_unchanged_password_makes_no_change_and_another_one_does() -> None:
    assert declared(MYSQL, now=stored(), users=[user(password="abcDEF123!xyz")]) == []
    (step,) = declared(MYSQL, now=stored(), users=[user(password="abcDEF123!xyZ")])
    assert step.line == "change account app@10.%: password"
    (step,) = declared(MYSQL, now=stored("", "auth_socket"), users=[user(password="x" * 20)])
    assert step.line == "change account app@10.%: plugin, password"


def test_all_stands_for_what_the_server_knows() -> None:
    grants = [{"user": "app", "host": "10.%", "privileges": ["ALL"]}]
    steps = declared(MYSQL, now=stored(), users=[user(password="abcDEF123!xyz")], grants=grants)
    assert [step.statement for step in steps] == [
        "GRANT BINLOG_ADMIN, SELECT ON *.* TO 'app'@'10.%'"
    ]
    held = {Right(Grantee("app", "10.%"), Target("global"), name) for name in LEVELS["global"]}
    now = replace(stored(), rights=frozenset(held))
    assert declared(MYSQL, now=now, users=[user(password="abcDEF123!xyz")], grants=grants) == []


def test_a_default_role_is_set_in_each_server_s_words() -> None:
    roles = [{"name": "writer"}]
    for dialect, word in ((MARIADB, "FOR"), (MYSQL, "TO")):
        steps = declared(dialect, users=[user(password="x" * 20, roles=["writer"])], roles=roles)
        assert steps[-1].statement == f"SET DEFAULT ROLE `writer` {word} 'app'@'10.%'"


def test_a_privilege_or_plugin_of_the_other_server_is_refused() -> None:
    grants = [{"user": "app", "host": "10.%", "privileges": ["BINLOG MONITOR"]}]
    with pytest.raises(AccessError, match="BINLOG MONITOR is no privilege there"):
        declared(MYSQL, users=[user()], grants=grants)
    with pytest.raises(AccessError, match="plugin must be one of auth_socket, caching_sha2"):
        declared(MYSQL, users=[user(plugin="ed25519")])


def test_the_server_s_own_accounts_are_left_alone() -> None:
    known = stored().users[Grantee("app", "10.%")]
    own = {name: replace(known, grantee=name, locked=True) for name in MYSQL.own}
    assert declared(MYSQL, now=replace(NOTHING, users=own)) == []
    open_ones = {name: replace(known, grantee=name) for name in MYSQL.own}
    steps = declared(MYSQL, now=replace(NOTHING, users=open_ones))
    assert {step.statement.split(" ACCOUNT ")[1] for step in steps} == {"LOCK"}
    assert len(steps) == 3


def test_what_mysql_hides_elsewhere_is_taken_back() -> None:
    known = stored()
    grantee = Grantee("app", "10.%")
    now = replace(
        known,
        users={grantee: replace(known.users[grantee], second_password=True)},
        roles=frozenset({"writer"}),
        memberships=frozenset({(grantee, "writer")}),
        admins=frozenset({(grantee, "writer")}),
        rights=frozenset({Right(grantee, Target("proxy", "localhost", "o'root"), "PROXY")}),
    )
    steps = declared(
        MYSQL,
        now=now,
        users=[user(password="abcDEF123!xyz", roles=["writer"])],
        roles=[{"name": "writer"}],
    )
    assert [step.statement for step in steps] == [
        "ALTER USER 'app'@'10.%' DISCARD OLD PASSWORD",
        "REVOKE `writer` FROM 'app'@'10.%'",
        "GRANT `writer` TO 'app'@'10.%'",
        "REVOKE PROXY ON 'o\\'root'@'localhost' FROM 'app'@'10.%'",
        "SET DEFAULT ROLE `writer` TO 'app'@'10.%'",
    ]


@pytest.mark.parametrize(
    ("version", "dialect"), [("11.8.3-MariaDB-log", MARIADB), ("9.7.4-2", MYSQL)]
)
def test_a_server_tells_by_its_version_what_it_is(version: str, dialect: Dialect) -> None:
    assert of(version) is dialect


SUBJECT = "SUBJECT '/CN=mysql1'"


def test_an_account_may_need_the_certificate_of_one_subject() -> None:
    for dialect in (MARIADB, MYSQL):
        given = user(require="subject /CN=mysql1", password="a long password")
        (step,) = declared(dialect, users=[given])
        assert f" REQUIRE {SUBJECT} WITH MAX_CONN" in step.statement


def test_the_subject_that_is_stored_is_known_again() -> None:
    grantee = Grantee("app", "10.%")
    found = catalog.as_stored(grantee, {"ssl_type": 3, "x509_subject": "/CN=mysql1"})
    assert found.require == SUBJECT
    row = ("app", "10.%", "p", "", "SPECIFIED", 0, 0, 0, 0, "N", "N", None, "/CN=mysql1", 0, None)
    assert catalog_mysql.as_stored(row).require == SUBJECT
    now = replace(stored(), users={grantee: replace(stored().users[grantee], require=SUBJECT)})
    given = {"password": "abcDEF123!xyz"}
    assert declared(MYSQL, now=now, users=[user(require="SUBJECT /CN=mysql1", **given)]) == []
    (step,) = declared(MYSQL, now=now, users=[user(require="SUBJECT /CN=mysql2", **given)])
    assert step.line == "change account app@10.%: require"


def test_what_asks_for_more_than_a_subject_is_none_of_ours() -> None:
    more = {"ssl_type": 3, "x509_subject": "/CN=mysql1", "x509_issuer": "/CN=other"}
    assert catalog.as_stored(Grantee("app", "10.%"), more).require == "SPECIFIED"
    row = ("app", "10.%", "p", "", "SPECIFIED", 0, 0, 0, 0, "N", "N", None, "/CN=mysql1", 9, None)
    assert catalog_mysql.as_stored(row).require == "SPECIFIED"


@pytest.mark.parametrize("text", ["SUBJECT", "SUBJECT CN=x", "SUBJECT /CN=x' OR '1", "CIPHER x"])
def test_what_a_connection_must_show_is_checked(text: str) -> None:
    with pytest.raises(AccessError, match="require must be one of NONE, SSL, X509 or SUBJECT /CN="):
        declared(MARIADB, users=[user(require=text)])
