"""Backups and binary log of a real server, put together again: all of it, and nothing twice."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbops.engines.mysql import (
    archive,
    chain,
    client,
    fingerprint,
    gtid,
    private_server,
    refill,
    replay,
)
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.private_server import Server
from dbops.errors import CommandFailed, VerificationFailed
from dbops.manifest import Fingerprint, compare
from tests.integration.mysql.machine import Member
from tests.integration.mysql.store import Store, archived

pytestmark = pytest.mark.integration


@pytest.fixture
def store(folder: Path) -> Store:
    place = folder / "store"
    place.mkdir()
    place.chmod(0o755)
    return Store(place)


def take(connect: fingerprint.Connect) -> Fingerprint:
    return fingerprint.take(connect, lambda text: None)


def of(member: Member) -> Fingerprint:
    return take(lambda: client.over(member.socket, "root", 600))


@contextmanager
def rebuilt(
    store: Store, folder: Path, files: list[chain.File], until: Position | None = None
) -> Iterator[Server]:
    """Put everything back into a new data directory, and run a server on it."""
    work = folder / "work"
    for name in ("data", "run"):
        refill.make(work / name, "mysql")
    way = store.way(files, until)
    place = Server(folder / "own" / "my.cnf", work / "data", work / "run", "mysql")
    refill.put_back(store.repo, way, place, work, 60, lambda text: None)
    with private_server.running(place, 60):
        with place.connect() as connection:
            replay.seed(connection, way.start)
        replay.run(place, way.chain, way.start, way.until, lambda text: None)
        yield place
    shutil.rmtree(work)


def fill(member: Member) -> None:
    member.run(
        "CREATE DATABASE d",
        "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(60), at DATETIME(3))",
        "INSERT INTO d.t SELECT seq, SHA1(seq), NOW(3) FROM d.seq_1_to_5000",
    )


@contextmanager
def busy(member: Member) -> Iterator[list[int]]:
    """Write without a pause while the block runs."""
    stop, done = threading.Event(), [0]

    def work() -> None:
        with member.connect() as connection:
            while not stop.is_set():
                client.rows(connection, "INSERT INTO d.t (a, at) VALUES (UUID(), NOW(3))")
                client.rows(connection, "UPDATE d.t SET a = UUID() WHERE id = %s", [done[0] % 99])
                done[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


def test_a_busy_server_comes_back_at_the_fingerprints_exact_point(
    own: Member, store: Store, folder: Path
) -> None:
    fill(own)
    with busy(own):
        store.take(own)
        own.run("FLUSH BINARY LOGS")
        time.sleep(0.5)
        expected = of(own)
        time.sleep(0.5)
        own.run("FLUSH BINARY LOGS")
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files, gtid.parse(expected.point)) as place:
        found = take(place.connect)
    assert found.point == expected.point
    assert compare(expected, found) == []


def test_increments_and_replay_duplicate_nothing(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    with busy(own):
        store.take(own)
        time.sleep(0.3)
        store.take(own, "incremental")
        own.run("FLUSH BINARY LOGS", "CREATE TABLE d.late (a INT)", "INSERT INTO d.late VALUES (1)")
        time.sleep(0.3)
        store.take(own, "incremental")
        time.sleep(0.3)
    expected = of(own)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place:
        found = take(place.connect)
    assert compare(expected, found) == []
    assert found.point == expected.point


def test_a_session_that_spans_files_is_replayed_in_one_stream(
    own: Member, store: Store, folder: Path
) -> None:
    """A table that lives as long as its session is lost when each file has a stream of its own."""
    fill(own)
    store.take(own)
    own.run(
        "SET SESSION binlog_format = 'STATEMENT'",
        "CREATE TEMPORARY TABLE d.kept AS SELECT 7 AS a",
        "FLUSH BINARY LOGS",
        "INSERT INTO d.t (a) SELECT a FROM d.kept",
    )
    expected = of(own)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place:
        assert compare(expected, take(place.connect)) == []


def test_a_time_is_met_within_the_second(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    store.take(own)
    own.run("CREATE TABLE d.ticks (at DATETIME(3))")
    with own.connect() as connection:
        for _ in range(40):
            client.rows(connection, "INSERT INTO d.ticks VALUES (UTC_TIMESTAMP(3))")
            time.sleep(0.1)
    files = archived(own, folder / "binlog")
    moment = datetime.now(UTC).replace(microsecond=0).timestamp() - 2
    wanted = datetime.fromtimestamp(moment, UTC)
    way = store.way(files)
    cut = chain.at_time(way.chain, way.start, wanted)
    with rebuilt(store, folder, files, cut.position) as place, place.connect() as connection:
        (last,) = client.rows(connection, "SELECT MAX(at) FROM d.ticks")[0]
    assert 0 <= (wanted - last.replace(tzinfo=UTC)).total_seconds() <= 0.3


def test_a_gtid_is_met_exactly(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    store.take(own)
    with busy(own):
        time.sleep(0.5)
        point = own.position()
        time.sleep(0.3)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files, gtid.parse(point)) as place, place.connect() as connection:
        assert str(replay.reached(connection)) == point


def test_a_missing_file_in_the_middle_is_named(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    store.take(own)
    for number in range(4):
        own.run("FLUSH BINARY LOGS", f"CREATE TABLE d.t{number} (a INT)")
    files = archived(own, folder / "binlog")
    gone = sorted(files, key=lambda file: file.words)[-3]
    files.remove(gone)
    with pytest.raises(VerificationFailed, match=gone.words):
        store.way(files)
    with pytest.raises(VerificationFailed, match=gone.words):
        store.way(files, gtid.parse(own.position()))


def test_log_that_goes_on_after_a_restart_is_whole(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    store.take(own)
    own.run("INSERT INTO d.t (a) VALUES ('before')")
    archived(own, folder / "binlog", "1")
    own.stop(9)
    own.start()
    own.run("INSERT INTO d.t (a) VALUES ('after')")
    files = archived(own, folder / "binlog", "2")
    expected = of(own)
    with rebuilt(store, folder, files) as place:
        assert compare(expected, take(place.connect)) == []


def test_a_definition_changed_during_a_backup_comes_back(
    own: Member, store: Store, folder: Path
) -> None:
    fill(own)
    own.run("INSERT INTO d.t (a) SELECT SHA1(seq) FROM d.seq_1_to_100000")
    stop = threading.Event()

    def alter() -> None:
        number = 0
        while not stop.is_set():
            own.run(f"CREATE TABLE d.n{number} AS SELECT 1 AS a")
            own.run(f"ALTER TABLE d.n{number} ADD b INT, ADD INDEX (b)")
            own.run(f"RENAME TABLE d.n{number} TO d.m{number}")
            number += 1

    thread = threading.Thread(target=alter)
    thread.start()
    try:
        store.take(own)
    except CommandFailed as error:
        pytest.skip(f"refused, which is right too: {error}")
    finally:
        stop.set()
        thread.join()
    expected = of(own)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place:
        assert compare(expected, take(place.connect)) == []


def test_a_table_made_of_a_query_comes_back_once_and_again(
    own: Member, store: Store, folder: Path
) -> None:
    """One transaction in the log, which a client carries out as two: in the next log, too."""
    fill(own)
    store.take(own)
    own.run("CREATE TABLE d.made (PRIMARY KEY (id)) AS SELECT * FROM d.t", "DELETE FROM d.t")
    expected = of(own)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place:
        assert compare(expected, take(place.connect)) == []
        (folder / "second" / "m" / "1").mkdir(parents=True)
        shutil.copy(place.data_dir / "binlog.000001", folder / "second" / "m" / "1")
    subprocess.run(["chmod", "-R", "a+rX", str(folder / "second")], check=True)
    with rebuilt(store, folder, archive.survey(folder / "second")) as place:
        assert compare(expected, take(place.connect)) == []


def test_a_torn_stream_is_no_backup(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    entry = store.take(own)
    path = store.folder / entry.snapshots["base.mbstream"]
    subprocess.run(["truncate", "-s", "-100000", str(path)], check=True)
    refill.make(folder / "torn", "mysql")
    place = Server(folder / "own" / "my.cnf", folder / "torn", folder, "mysql")
    with pytest.raises((CommandFailed, VerificationFailed)):
        refill.put_back(store.repo, store.way([]), place, folder, 60, lambda text: None)


def test_new_transactions_are_never_taken_for_the_history_left_behind(
    own: Member, store: Store, folder: Path
) -> None:
    fill(own)
    store.take(own)
    own.run("INSERT INTO d.t (a) VALUES ('kept')")
    early = gtid.parse(own.position())
    own.run("INSERT INTO d.t (a) VALUES ('left behind')", "INSERT INTO d.t (a) VALUES ('too')")
    late = gtid.parse(own.position())
    files = archived(own, folder / "binlog", "1")
    with rebuilt(store, folder, files, early) as place:
        with place.connect() as connection:
            replay.begin_anew(connection, early, late)
        with place.connect() as connection:
            client.rows(connection, "INSERT INTO d.t (a) VALUES ('new')")
            newest = replay.reached(connection)
        (folder / "binlog" / "m" / "2").mkdir()
        shutil.copy(place.data_dir / "binlog.000001", folder / "binlog" / "m" / "2")
    subprocess.run(["chmod", "-R", "a+rX", str(folder / "binlog")], check=True)
    assert newest.numbers()["0"] > late.numbers()["0"] + 1000
    both = chain.longest([*files, *archived_again(folder)])
    for until, expected in ((None, "new"), (late, "too"), (early, "kept")):
        with rebuilt(store, folder, both, until) as place, place.connect() as connection:
            (text,) = client.rows(connection, "SELECT a FROM d.t ORDER BY id DESC LIMIT 1")[0]
        assert text == expected


def archived_again(folder: Path) -> list[chain.File]:
    return archive.survey(folder / "binlog")
