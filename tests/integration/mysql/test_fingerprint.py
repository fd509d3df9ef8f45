"""Fingerprints against a real server: every difference is found, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dbops.engines.mysql import client, fingerprint
from dbops.errors import CommandFailed
from dbops.manifest import Difference, Fingerprint, compare
from tests.integration.mysql.machine import Member

pytestmark = pytest.mark.integration


def take(member: Member) -> Fingerprint:
    return fingerprint.take(lambda: client.over(member.socket, "root", 600), lambda text: None)


def differences(member: Member, *changes: str) -> list[Difference]:
    before = take(member)
    member.run(*changes)
    return compare(before, take(member))


@pytest.fixture
def made(member: Member) -> Member:
    member.run(
        "CREATE DATABASE d CHARACTER SET utf8mb4",
        "CREATE TABLE d.t (id INT PRIMARY KEY, a VARCHAR(20), b VARCHAR(20), f FLOAT, g DOUBLE, "
        "n DECIMAL(10,2), e ENUM('x','y'), s SET('p','q'), bits BIT(64), ts TIMESTAMP(6) NULL, "
        "day DATE, long_text LONGTEXT, raw VARBINARY(20), j JSON, u UUID, i6 INET6, "
        "dots POINT, twice INT AS (id * 2) VIRTUAL, kept INT AS (id * 3) STORED)",
        "INSERT INTO d.t (id, a, b, f, g, n, e, s, bits, ts, day, long_text, raw, j, u, i6, dots) "
        "VALUES (1, 'one', 'eins', 0.1, 0.1, 1.10, 'x', 'p,q', b'1', '2026-01-02 03:04:05.678901', "
        "'2026-01-02', 'long', x'00ff', '{}', '123e4567-e89b-12d3-a456-426655440000', '::1', "
        "ST_GeomFromText('POINT(1 2)')), "
        "(2, 'two', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
        "NULL, NULL), (3, '', 'x', 3, 3, 3, 'y', '', b'0', '2026-01-02', '2026-01-02', '', '', "
        "'[]', NULL, NULL, NULL)",
    )
    return member


def test_the_same_content_is_equal(made: Member) -> None:
    assert differences(made) == []


@pytest.mark.parametrize(
    "change",
    [
        "a = 'One' WHERE id = 1",
        "a = 'one ' WHERE id = 1",
        "b = '' WHERE id = 2",
        "a = NULL WHERE id = 3",
        "f = 0.10000001 WHERE id = 1",
        "g = 0.10000000000000002 WHERE id = 1",
        "n = 1.11 WHERE id = 1",
        "e = 'y' WHERE id = 1",
        "s = 'p' WHERE id = 1",
        "bits = b'11' WHERE id = 1",
        "ts = '2026-01-02 03:04:05.678902' WHERE id = 1",
        "day = NULL WHERE id = 1",
        "long_text = 'lonG' WHERE id = 1",
        "long_text = NULL WHERE id = 3",
        "raw = x'00fe' WHERE id = 1",
        "raw = x'00' WHERE id = 3",
        "j = '{ }' WHERE id = 1",
        "u = '123e4567-e89b-12d3-a456-426655440001' WHERE id = 1",
        "i6 = '::2' WHERE id = 1",
        "dots = ST_GeomFromText('POINT(2 1)') WHERE id = 1",
        "a = 'one#eins', b = '' WHERE id = 1",
        "id = 4 WHERE id = 3",
    ],
)
def test_one_changed_value_is_found(made: Member, change: str) -> None:
    found = differences(made, client.sql("UPDATE d.t SET {change}", change=change))
    assert [(one.table, one.what) for one in found] == [("t", "content")]


def test_values_that_change_places_are_found(made: Member) -> None:
    made.run("CREATE TABLE d.pairs (k VARCHAR(2), v VARCHAR(2))")
    made.run("INSERT INTO d.pairs VALUES ('a', '1'), ('b', '2')")
    changes = ("UPDATE d.pairs SET v = CASE k WHEN 'a' THEN '2' ELSE '1' END",)
    assert [one.what for one in differences(made, *changes)] == ["content"]


def test_text_that_moves_over_a_border_is_found(made: Member) -> None:
    made.run(
        "CREATE TABLE d.edge (a VARCHAR(9), b VARCHAR(9))", "INSERT d.edge VALUES ('1#2', '3')"
    )
    assert differences(made, "UPDATE d.edge SET a = '1', b = '2#3'") != []


def test_the_same_rows_in_another_order_are_equal(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a INT, b VARCHAR(40))")
    member.run("INSERT INTO d.t SELECT seq, SHA1(seq) FROM d.seq_1_to_20000")
    before = take(member)
    member.run("RENAME TABLE d.t TO d.old", "CREATE TABLE d.t LIKE d.old")
    member.run("INSERT INTO d.t SELECT * FROM d.old ORDER BY b DESC", "DROP TABLE d.old")
    assert compare(before, take(member)) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("DELETE FROM d.t WHERE id = 2", "rows"),
        ("DROP TABLE d.t", "missing table"),
        ("CREATE TABLE d.more (a INT)", "unexpected table"),
        ("ALTER TABLE d.t ADD INDEX (a)", "definition"),
        ("ALTER TABLE d.t MODIFY a VARCHAR(21)", "definition"),
        ("CREATE TRIGGER d.tr BEFORE INSERT ON d.t FOR EACH ROW SET NEW.a = 'x'", "definition"),
        ("CREATE VIEW d.v AS SELECT 1", "unexpected table"),
        ("CREATE PROCEDURE d.p() SELECT 1", "unexpected table"),
        ("DROP DATABASE d", "missing table"),
    ],
)
def test_what_is_more_than_a_value_is_found(made: Member, change: str, what: str) -> None:
    assert [one.what for one in differences(made, change)] == [what]


def test_a_counter_that_went_on_is_no_difference(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY)")
    assert differences(member, "INSERT INTO d.t VALUES (NULL)", "DELETE FROM d.t") == []


def test_hostile_names_are_taken_literally(member: Member) -> None:
    names = ("a`b", "x'; DROP DATABASE d; --", 'q"uote', "per%cent%s", "sp ace", "ünïcode")
    for name in names:
        quoted = client.name(name)
        member.run(f"CREATE DATABASE {quoted}")
        member.run(f"CREATE TABLE {quoted}.{quoted} ({quoted} VARCHAR(9))")
        member.run(client.sql("INSERT INTO {t}.{t} VALUES ('x %s')", t=quoted))
    found = {one.database: one for one in take(member).databases}
    assert set(names) <= set(found)
    assert all(found[name].tables[0].rows == 1 for name in names)


def test_history_of_a_versioned_table_counts(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a INT) WITH SYSTEM VERSIONING")
    member.run("INSERT INTO d.t VALUES (1)", "DELETE FROM d.t")
    assert take(member).rows == 1


def test_a_table_outside_snapshots_counts_by_definition_alone(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM")
    member.run("INSERT INTO d.m VALUES (1)")
    assert [(t.name, t.rows) for t in take(member).databases[0].tables] == [("definition of m", 0)]


def test_a_row_too_long_to_be_summed_is_an_error(member: Member) -> None:
    packet = int(member.value("SELECT @@GLOBAL.max_allowed_packet"))
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a TEXT, b TEXT, c TEXT)")
    member.run("INSERT d.t SELECT REPEAT('a', 60000), REPEAT('b', 60000), REPEAT('c', 60000)")
    try:
        member.run("FLUSH BINARY LOGS", "SET GLOBAL max_allowed_packet = 131072")
        with pytest.raises(CommandFailed, match=r"d\.t has rows longer"):
            take(member)
    finally:
        member.run(f"SET GLOBAL max_allowed_packet = {packet}")


@contextmanager
def writing(member: Member, write: Callable[[int], tuple[str, ...]]) -> Iterator[list[int]]:
    done, stop = [0], threading.Event()

    def work() -> None:
        with member.connect() as connection:
            while not stop.is_set():
                for statement in write(done[0]):
                    client.rows(connection, statement)
                done[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


def test_the_point_is_exact_while_a_writer_is_busy(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)")
    start = int(member.position().split("-")[2])
    with writing(member, lambda n: (client.sql("INSERT INTO d.t VALUES ({n})", n=str(n)),)) as done:
        for _ in range(5):
            found = take(member)
            assert found.rows == int(found.point.split("-")[2]) - start
    assert done[0] > found.rows


def test_a_writer_is_never_held_up(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b CHAR(200))")
    member.run("INSERT INTO d.t SELECT seq, SHA2(seq, 512) FROM d.seq_1_to_300000")
    member.run("CREATE TABLE d.w (a INT PRIMARY KEY)")
    with writing(member, lambda n: (client.sql("INSERT INTO d.w VALUES ({n})", n=str(n)),)) as done:
        before = done[0]
        found = take(member)
        during = done[0] - before
    assert during / found.seconds > 50


def test_a_table_altered_meanwhile_makes_it_begin_anew(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b CHAR(200))")
    member.run("INSERT INTO d.t SELECT seq, SHA2(seq, 512) FROM d.seq_1_to_50000")
    told: list[str] = []

    def alter(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            member.run("ALTER TABLE d.t ADD c INT DEFAULT 7, ALGORITHM=COPY")

    found = fingerprint.take(lambda: client.over(member.socket, "root", 600), alter)
    assert any("being altered" in text for text in told)
    assert compare(found, take(member)) == []


def test_what_is_not_compared_is_named_and_has_no_rows(member: Member) -> None:
    member.run(
        "CREATE DATABASE d",
        "CREATE TABLE d.i (a INT PRIMARY KEY)",
        "CREATE TABLE d.my (a INT) ENGINE = MyISAM",
        "CREATE TABLE d.mem (a INT) ENGINE = MEMORY",
        "CREATE SEQUENCE d.s",
        "INSERT INTO d.my VALUES (1)",
    )
    found = take(member)
    (database,) = [one for one in found.databases if one.database == "d"]
    assert {one.name for one in database.tables} == {"definition of mem", "definition of my", "i"}
    assert {(one.name, one.kind) for one in found.omitted if one.database == "d"} == {
        ("my", "MyISAM table"),
        ("mem", "MEMORY table"),
        ("s", "sequence"),
    }
    member.run("ALTER TABLE d.my ADD b INT")
    (difference,) = compare(found, take(member))
    assert (difference.table, difference.what) == ("definition of my", "definition")


def test_a_fingerprint_of_an_earlier_version_is_compared_by_its_names(member: Member) -> None:
    member.run("CREATE DATABASE d", "CREATE TABLE d.my (a INT) ENGINE = MyISAM")
    found = take(member)
    former = fingerprint.as_named(found, found.model_copy(update={"omitted": ()}))
    former = former.model_copy(update={"omitted": ()})
    assert {one.name for db in former.databases for one in db.tables} == {"my"}
    assert compare(former, fingerprint.as_named(found, former)) == []
    assert fingerprint.as_named(found, found) == found
