"""A migration between two real servers while applications write: there, and back again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from dbops import runner
from dbops.contract import MigrateStep
from dbops.engines.mysql import ENGINE, client, migrate_link
from dbops.engines.mysql.migrate import CLOSED
from dbops.errors import CommandFailed, DbopsError, Refused, VerificationFailed
from dbops.targets import Objectives, Target
from tests.integration import ports
from tests.integration.mysql.machine import Member, certificates, tls_settings

pytestmark = pytest.mark.integration


class Side:
    """One cluster of one member."""

    def __init__(self, folder: Path, number: int, tls: Path, domain: int) -> None:
        self.folder = folder
        self.number = number
        self.port = ports.free()
        more = f"{tls_settings(tls)}\ngtid-domain-id = {domain}"
        self.member = (
            Member(folder / f"s{number}", server_id=number, port=self.port, more=more)
            .install()
            .start()
        )
        self.member.run(
            "CREATE USER dbops_migrate@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret') "
            "REQUIRE SSL",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, LOCK TABLES, REPLICATION "
            "SLAVE, BINLOG MONITOR, SLAVE MONITOR, READ_ONLY ADMIN, CONNECTION ADMIN ON *.* TO "
            "dbops_migrate@'127.0.0.1'",
            "CREATE USER app@localhost IDENTIFIED BY 'app'",
            "GRANT ALL ON d.* TO app@localhost",
            "CREATE DATABASE dbops",
            "CREATE TABLE dbops.heartbeat (id TINYINT PRIMARY KEY, n INT)",
            client.sql("INSERT INTO dbops.heartbeat VALUES (1, {n})", n=str(number)),
        )

    def target(self, other: Side) -> Target:
        return Target(
            schema_version=1,
            engine="mysql",
            cluster=f"c{self.number}",
            part="member",
            member="m1",
            version="10.11",
            members=("m1",),
            objectives=Objectives(rpo_seconds=60, rto_seconds=600),
            state_dir=self.folder / f"state{self.number}",
            options={
                "hosts": {"m1": "127.0.0.1"},
                "socket": str(self.member.socket),
                "data_dir": str(self.member.data),
                "migrate_hosts": {"m1": "127.0.0.1"},
                "migrate_port": other.port,
                "migrate_file": str(self.folder / "migrate.cnf"),
            },
        )


@pytest.fixture
def sides(programs: None, folder: Path) -> Iterator[tuple[Side, Side]]:
    certificates(folder / "tls")
    path = folder / "migrate.cnf"
    path.write_text(
        f'[client]\nuser=dbops_migrate\npassword="secret"\nssl-ca={folder}/tls/ca.crt\n'
    )
    path.chmod(0o600)
    old, new = (Side(folder, number, folder / "tls", number) for number in (1, 2))
    old.member.run(
        "CREATE DATABASE d",
        "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(60))",
        "INSERT INTO d.t (a) SELECT SHA1(seq) FROM d.seq_1_to_5000",
        "CREATE VIEW d.v AS SELECT COUNT(*) AS n FROM d.t",
        "CREATE PROCEDURE d.p() SELECT 1",
    )
    yield old, new
    for side in (old, new):
        side.member.stop()


def step(side: Side, other: Side, name: MigrateStep) -> None:
    assert ENGINE.plan_migrate is not None
    plan = ENGINE.plan_migrate(side.target(other), name)
    runner.run(plan, on_line=lambda line: None)


@contextmanager
def application(*sides: Side) -> Iterator[list[int]]:
    """Write as an application does: to whichever side takes it; return what was acknowledged."""
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        number, place = 100_000, 0
        while not stop.is_set():
            try:
                with pymysql.connect(
                    unix_socket=str(sides[place].member.socket),
                    user="app",
                    password="app",
                    autocommit=True,
                ) as connection:
                    while not stop.is_set():
                        client.rows(
                            connection, "INSERT INTO d.t VALUES (%s, %s)", [number, str(number)]
                        )
                        acknowledged.append(number)
                        number += 1
                        time.sleep(0.002)
            except pymysql.Error:
                place = (place + 1) % len(sides)
                number += 1
                time.sleep(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def missing(side: Side, acknowledged: list[int]) -> set[int]:
    there = {number for (number,) in side.member.rows("SELECT id FROM d.t WHERE id >= 100000")}
    return set(acknowledged) - there


def test_there_and_back_without_a_lost_row(sides: tuple[Side, Side]) -> None:
    old, new = sides
    with application(old, new) as acknowledged:
        step(old, new, "prepare")
        step(new, old, "prepare")
        step(new, old, "start")
        assert not int(old.member.value("SELECT @@read_only"))
        step(new, old, "prove")
        before = len(acknowledged)
        step(new, old, "switch")
        assert new.member.rows("SHOW ALL SLAVES STATUS") == [], "a restart would close it"
        time.sleep(0.5)
        assert len(acknowledged) > before
        assert missing(new, list(acknowledged)) == set()
        assert ENGINE.migration is not None
        stands = ENGINE.migration(new.target(old))
        assert stands.databases[0].open
        assert stands.pause_seconds is not None
        assert stands.pause_seconds < 10
        step(old, new, "follow")
        step(old, new, "prove")
        step(old, new, "switch")
        time.sleep(0.5)
    assert missing(old, acknowledged) == set()
    assert int(old.member.value("SELECT n FROM dbops.heartbeat")) == 1
    assert int(new.member.value("SELECT n FROM dbops.heartbeat")) == 2
    step(new, old, "follow")
    step(new, old, "prove")  # what was left follows again, as it did the first time
    closed = new.target(old).state_dir / CLOSED
    assert not closed.exists()
    for side, other in ((new, old), (old, new)):
        step(side, other, "finish")
        assert side.member.rows("SHOW ALL SLAVES STATUS") == []
    assert closed.exists()
    assert not (old.target(new).state_dir / CLOSED).exists()


def test_a_difference_is_found_and_keeps_the_writers_where_they_are(
    sides: tuple[Side, Side],
) -> None:
    old, new = sides
    step(new, old, "start")
    new.member.run("SET SESSION sql_log_bin = 0", "UPDATE d.t SET a = 'x' WHERE id = 7")
    with pytest.raises(VerificationFailed, match=r"the first is t of database 'd' \(content"):
        step(new, old, "prove")
    with pytest.raises(Refused, match="not proven equal"):
        step(new, old, "switch")
    assert not int(old.member.value("SELECT @@read_only"))


def test_what_cannot_be_carried_is_refused(sides: tuple[Side, Side]) -> None:
    old, new = sides
    old.member.run("CREATE TABLE d.m (a INT) ENGINE=MyISAM")
    with pytest.raises(Refused, match="MyISAM"):
        step(old, new, "prepare")
    old.member.run("DROP TABLE d.m", "CREATE TABLE d.f (a FLOAT)")
    with pytest.raises(Refused, match="round to six digits"):
        step(new, old, "start")
    old.member.run("DROP TABLE d.f")
    new.member.run("CREATE DATABASE d", "CREATE TABLE d.x (a INT)")
    with pytest.raises(Refused, match="holds tables already"):
        step(new, old, "start")
    new.member.run("SET GLOBAL gtid_domain_id = 1")
    with pytest.raises(Refused, match="domain 1"):
        step(new, old, "start")


def test_a_switch_that_fails_leaves_the_writers_where_they_are(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = sides
    step(new, old, "start")
    step(new, old, "prove")

    def fail(*words: object) -> None:
        raise CommandFailed("the cable was cut")

    monkeypatch.setattr(migrate_link, "wait_for", fail)
    with pytest.raises(DbopsError, match="cable"):
        step(new, old, "switch")
    assert not int(old.member.value("SELECT @@read_only"))
    assert int(new.member.value("SELECT @@read_only"))


def test_a_switch_that_is_killed_once_this_side_is_open_is_ended_by_the_next(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = sides
    step(new, old, "start")
    step(new, old, "prove")
    with monkeypatch.context() as patch:
        patch.setattr(migrate_link, "forget", killed)
        with pytest.raises(KeyboardInterrupt):
            step(new, old, "switch")
    assert not int(new.member.value("SELECT @@read_only"))
    assert new.member.rows("SHOW ALL SLAVES STATUS")
    step(new, old, "switch")
    assert new.member.rows("SHOW ALL SLAVES STATUS") == [], "a restart would close it"
    assert int(old.member.value("SELECT @@read_only"))
    with pytest.raises(Refused, match="follows no other one"):
        step(new, old, "switch")


def killed(*words: object) -> None:
    raise KeyboardInterrupt


def test_events_run_once_before_and_after_a_switch(sides: tuple[Side, Side]) -> None:
    old, new = sides
    for side in sides:
        side.member.run("SET GLOBAL event_scheduler = ON")
    old.member.run(
        "CREATE TABLE d.ran (at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6), place INT)",
        "CREATE EVENT d.on ON SCHEDULE EVERY 1 SECOND DO INSERT INTO d.ran (place) "
        "VALUES (@@gtid_domain_id)",
        "CREATE EVENT d.off ON SCHEDULE EVERY 1 SECOND DISABLE DO SELECT 1",
    )
    step(new, old, "start")
    old.member.run("ALTER EVENT d.on COMMENT 'later'")
    step(new, old, "prove")
    ran = "SELECT DISTINCT place FROM d.ran"
    assert new.member.rows(ran) == [(1,)]
    assert new.member.value("SELECT @@GLOBAL.event_scheduler") == "ON"
    with pytest.raises(Refused, match=r"Events run .* \(d\.on\)"):
        step(new, old, "switch")
    assert not int(old.member.value("SELECT @@read_only"))
    old.member.run("SET GLOBAL event_scheduler = OFF")
    time.sleep(1)
    step(new, old, "switch")
    states = "SELECT event_name, status FROM information_schema.events ORDER BY 1"
    assert new.member.rows(states) == [("off", "DISABLED"), ("on", "ENABLED")]
    time.sleep(2)
    assert new.member.rows(f"{ran} ORDER BY 1") == [(1,), (2,)]
