"""A drill restores the semantics of the cluster, whatever its own settings are."""

from __future__ import annotations

import pytest

from dbops.engines.mysql import client, private_server
from dbops.runner import check
from dbops.targets import Target
from plugins.filter.mysql import made_with, meaning
from tests.integration.mysql.site import Site
from tests.integration.mysql.test_drill import UNREACHABLE, run
from tests.integration.mysql.test_programs import Place, place

__all__ = ["place"]

pytestmark = pytest.mark.integration

_DECLARED = {
    "lower_case_table_names": 1,
    "character_set_server": "latin1",
    "collation_server": "latin1_swedish_ci",
    "default_time_zone": "+03:00",
    "explicit_defaults_for_timestamp": False,
    "innodb_default_row_format": "compact",
    "old_mode": "NO_PROGRESS_INFO",
    "sql_mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
}


@pytest.fixture
def settings() -> str:
    """Return what the member of the site is started with."""
    return "\n".join(f"{name} = {value}" for name, value in meaning(_DECLARED).items())


@pytest.fixture
def drill(site: Site) -> Target:
    return site.target(
        "drill",
        scratch_dir=str(site.folder / "scratch"),
        drill_user="mysql",
        hosts={"m1": UNREACHABLE},
        drill_settings=meaning({**_DECLARED, "datadir": "/somewhere", "port": 3306}),
    )


def test_settings_that_change_meaning_are_the_clusters(site: Site, drill: Target) -> None:
    made = (
        "CREATE TABLE d.Mixed (Id INT, at TIMESTAMP, a VARCHAR(9))",
        "INSERT INTO d.MIXED (Id, a) VALUES (1, 'a\\')",
        "CREATE DATABASE Other",
        "CREATE TABLE other.plain (a VARCHAR(20), at TIMESTAMP)",
    )
    with site.following():
        site.take()
        site.member.run(*made)
        site.take("incremental")
        site.member.run("INSERT INTO D.MIXED (Id) VALUES (2)", "ALTER TABLE OTHER.PLAIN ADD b INT")
        site.member.run("FLUSH BINARY LOGS")
        site.beat()
        site.take("log")
    result = run(drill)
    assert result.proven, result.reason


def test_mysql_is_made_anew_with_what_it_must_be_made_with(place: Place) -> None:
    at = place.server("m")
    with at.config.open("a") as config:
        config.write("lower_case_table_names = 1\ninnodb_page_size = 8k\n")
    check(private_server.initialize(at))
    with private_server.running(at, 60), at.connect() as connection:
        assert client.variables(connection)["innodb_page_size"] == "8192"


def test_only_what_has_a_meaning_reaches_a_drill() -> None:
    told = {"sql_mode": "", "port": 3306, "plugin_load_add": "/tmp/x.so", "datadir": "/d"}
    assert meaning(told) == {"sql_mode": ""}
    assert made_with({"innodb_page_size": "8k", "port": 1}) == ["--innodb-page-size=8k"]
    assert made_with({}) == []
