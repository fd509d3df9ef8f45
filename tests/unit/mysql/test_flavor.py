"""The two flavours side by side, and that the role's halves agree with the agent's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from dbops.engines.mysql import columns, flavor, migrate, monitor, options, private_server, stream
from dbops.engines.mysql.columns import Column
from dbops.engines.mysql.flavor import MARIADB, MYSQL
from dbops.engines.mysql.private_server import Server
from dbops.errors import ConfigError
from lab import flavors
from plugins.filter.mysql import errant, option_file
from plugins.module_utils.mysql_server.flavor import ALL
from tests.unit.mysql.made import target

ROLE = Path(__file__).resolve().parents[3] / "roles" / "mysql"
A, B = "aaaaaaaa-0000-11f1-808f-2e9daacd4fc4", "bbbbbbbb-0000-11f1-808f-2e9daacd4fc4"


def test_a_new_server_is_told_the_same_by_the_role_and_by_a_restore() -> None:
    text = (ROLE / "files" / "mysql" / "initialize.sql").read_text(encoding="utf-8")
    assert text == "".join(f"{line};\n" for line in private_server.FIRST)


def test_the_role_and_the_agent_know_the_same_backups() -> None:
    known = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    for kind in (MARIADB, MYSQL):
        declared = known["__mysql_flavors"][kind.name]["backups"]
        assert declared == [*kind.streams, "log"]
        assert list(monitor.KINDS[kind.name]) == declared
        assert kind.name in stream.TOOLS


def test_every_task_that_asks_a_server_says_which_it_is() -> None:
    asked = 0
    for path in (ROLE / "tasks").glob("*.yml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if line.strip() in ("mysql_state:", "mysql_replica:", "mysql_settings:"):
                asked += 1
                assert lines[number + 1].strip() == 'flavor: "{{ mysql_flavor }}"', path.name
            assert "argv: [mariadb" not in line, path.name
    assert asked > 6


@pytest.mark.parametrize(
    ("said", "kind"), [("5.5.5-10.11.6-MariaDB-log", MARIADB), ("9.7.4-2", MYSQL)]
)
def test_a_server_says_what_it_is(said: str, kind: flavor.Flavor) -> None:
    connection: Any = SimpleNamespace(server_version=said)
    assert flavor.of(connection) is kind
    assert flavor.named(kind.name) is kind


def test_a_private_server_of_mysql_is_on_no_network_and_open_for_the_replay() -> None:
    place = Server(Path("/c"), Path("/d"), Path("/r"), "mysql", None, MYSQL)
    argv = place.command().argv
    assert argv[:2] == ("/usr/sbin/mysqld", "--defaults-file=/c")
    assert {"--skip-networking", "--super-read-only=0", "--skip-replica-start"} <= set(argv)
    assert "--skip-slave-start" not in argv


def test_a_row_of_mysql_is_summed_without_mariadb_s_checksums() -> None:
    fields = [Column("a", "int", nullable=False), Column("b", "json", nullable=True)]
    query = columns.total("`d`.`t`", fields, summing=columns.MYSQL)
    assert "SHA2(CONCAT_WS" in query
    assert "CRC32" not in query
    assert "CRC32C(" in columns.total("`d`.`t`", fields)


def test_the_log_is_followed_with_the_source_verified() -> None:
    assert "--ssl-mode=VERIFY_IDENTITY" in MYSQL.follow(7, Path("/ca"))
    assert "--ssl-verify-server-cert" in MARIADB.follow(7, Path("/ca"))
    assert "ssl-mode=VERIFY_IDENTITY" in option_file("p", "u", "mysql")
    assert "ssl-verify-server-cert" in option_file("p", "u")


def test_a_late_beginning_is_read_as_all_before_it() -> None:
    assert str(MYSQL.beginning(f"{A}:38-41,\n{B}:1-3:t:2-5")) == f"{A}:1-41,{B}:1-3,{B}:t:1-5"


def test_a_migration_of_mysql_is_refused_in_words(tmp_path: Path) -> None:
    asked = target(tmp_path, "member", flavor="mysql", data_dir="/d", service="mysql.service")
    assert options.read(asked).flavor == "mysql"
    with pytest.raises(ConfigError, match="A migration of MySQL is not carried out yet"):
        migrate.plan_migrate(asked, "start")


@pytest.mark.parametrize(
    ("mine", "theirs", "missing"),
    [
        (f"{A}:1-9,{B}:1-3", f"{A}:1-9,{B}:1-3", ""),
        (f"{A}:1-9:t:1", f"{A}:1-7", f"{A}:8-9,{A}:t:1-1"),
        (f"{A}:1-9", f"{A}:1-3:6-7,{B}:1", f"{A}:4-5,{A}:8-9"),
        ("0-1-7,0-2-9", "0-1-7,0-2-8", "0-2-9"),
    ],
)
def test_what_a_member_alone_has_is_named(mine: str, theirs: str, missing: str) -> None:
    assert errant(mine, theirs) == missing


def test_replication_is_set_up_in_each_server_s_words() -> None:
    wanted = {
        "host": "m1", "user": "u", "password": "it's", "port": "3306", "ssl": "1", "verify": "1",
        "ca_file": "/ca", "cert_file": "/crt", "key_file": "/key",
    }  # fmt: skip
    text = ALL["mysql"].follow(wanted)
    assert text.startswith("STOP REPLICA;\nCHANGE REPLICATION SOURCE TO SOURCE_HOST='m1', ")
    assert "SOURCE_PASSWORD='it\\'s'" in text
    assert "SOURCE_SSL_VERIFY_SERVER_CERT=1" in text
    assert "SOURCE_AUTO_POSITION=1" in text
    text = ALL["mariadb"].follow(wanted)
    assert "CHANGE MASTER TO MASTER_HOST='m1'" in text
    assert "MASTER_USE_GTID=slave_pos, MASTER_DEMOTE_TO_SLAVE=1" in text


@pytest.mark.parametrize(
    ("name", "source", "replica"), [("mariadb", "Master", "Slave"), ("mysql", "Source", "Replica")]
)
def test_a_replica_s_status_is_read_in_each_server_s_words(
    name: str, source: str, replica: str
) -> None:
    row = {
        f"{replica}_IO_Running": "Yes", f"{replica}_SQL_Running": "Yes", f"{source}_Host": "m1",
        f"Seconds_Behind_{source}": "NULL", "Last_SQL_Error": "", "Last_IO_Error": "",
    }  # fmt: skip
    found = ALL[name].link(row)
    assert found["upstream_host"] == "m1"
    assert (found["streaming"], found["seconds_behind"]) == (True, -1)


def test_the_lab_takes_mysql_from_the_mirror_that_its_hosts_have() -> None:
    sources = "# a comment\ndeb [signed-by=/k] http://mirror.test/debian trixie main\n"
    found = flavors.variables(sources, "KEY")["mysql_apt_repository"]
    assert (found["uri"], found["suite"], found["key"]) == (
        "http://mirror.test/debian", "sid", "KEY",
    )  # fmt: skip
