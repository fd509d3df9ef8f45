"""What users' statements become in a replay: what the server made of them, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.engines.mysql import chain, client, gtid, replay
from dbops.engines.mysql.client import Connection
from dbops.errors import CommandFailed, VerificationFailed
from dbops.manifest import compare
from tests.integration.mysql.machine import Member
from tests.integration.mysql.store import Store, archived
from tests.integration.mysql.test_replay import fill, of, rebuilt, store, take

__all__ = ["store"]

pytestmark = pytest.mark.integration

_EVENTS = (
    "SELECT event_schema, event_name, definer, status, sql_mode, time_zone, event_definition "
    "FROM information_schema.events ORDER BY 1, 2"
)


def smuggled(*statements: str) -> str:
    """Return what is one statement to the server and was several to a client fed with the log.

    To the server ``--`` and a control character begin a comment, to the client only ``--`` and
    white space do; ``/*!*/;`` is what ends a statement in the text of ``mariadb-binlog``.
    """
    return "CREATE TABLE d.rt1 (a VARCHAR(300)) --\x01 /*!*/; " + " /*!*/; ".join(statements)


@pytest.fixture
def app(own: Member) -> Connection:
    """Return an application's connection: it may do everything in one database, no more."""
    fill(own)
    own.run("CREATE USER app@localhost IDENTIFIED BY 'app'", "GRANT ALL ON d.* TO app@localhost")
    return as_app(own)


def as_app(member: Member) -> Connection:
    return Connection(unix_socket=str(member.socket), user="app", password="app", autocommit=True)


def test_a_comment_of_a_statement_is_never_a_statement(
    own: Member, app: Connection, store: Store, folder: Path
) -> None:
    store.take(own)
    told = folder / "told"
    told.mkdir()
    told.chmod(0o777)
    client.rows(
        app,
        smuggled(
            "SET sql_log_bin = 0",
            "GRANT SUPER, FILE ON *.* TO app@localhost",
            "CREATE TABLE d.stolen (a TEXT)",
            "LOAD DATA LOCAL INFILE '/etc/shadow' INTO TABLE d.stolen",
        ),
    )
    expected, grants = of(own), own.rows("SHOW GRANTS FOR app@localhost")
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place, place.connect() as connection:
        assert client.rows(connection, "SHOW GRANTS FOR app@localhost") == grants
        assert client.rows(connection, "SHOW TABLES IN d LIKE 'stolen'") == []
        assert compare(expected, take(place.connect)) == []


@pytest.mark.parametrize(
    "payload",
    [
        "SELECT CURRENT_USER() INTO OUTFILE '{folder}/told/by'",
        "LOAD DATA LOCAL INFILE '/nowhere' INTO TABLE d.t",
        "this is no statement at all",
    ],
)
def test_what_a_server_took_once_never_stops_a_restore(
    own: Member, app: Connection, store: Store, folder: Path, payload: str
) -> None:
    store.take(own)
    (folder / "told").mkdir()
    (folder / "told").chmod(0o777)
    client.rows(app, smuggled(payload.format(folder=folder)))
    own.run("INSERT INTO d.t (a) VALUES ('after')")
    expected = of(own)
    with rebuilt(store, folder, archived(own, folder / "binlog")) as place:
        assert compare(expected, take(place.connect)) == []
    assert list((folder / "told").iterdir()) == []


def test_a_statement_reads_no_file_that_its_user_may_not_read(
    own: Member, app: Connection, store: Store, folder: Path
) -> None:
    """A server that applies a log asks for no rights, so there must be nothing to be had."""
    (folder / "plain").write_text("secret\n")
    (folder / "plain").chmod(0o644)
    own.run("SET GLOBAL binlog_format = 'STATEMENT'")
    store.take(own)
    with as_app(own) as connection:
        client.rows(connection, "CREATE TABLE d.f (a TEXT)")
        client.rows(connection, f"INSERT INTO d.f SELECT LOAD_FILE('{folder}/plain')")
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place, place.connect() as connection:
        assert client.rows(connection, "SELECT a FROM d.f") == [(None,)]


def test_events_stay_as_they_were(own: Member, app: Connection, store: Store, folder: Path) -> None:
    """A server that applies another one's log switches them off, and ``ALTER`` makes them its own.

    The one who alters an event is who it then runs as: that must not become root by a restore.
    """
    own.run(
        "CREATE EVENT d.old ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "CREATE EVENT d.was ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
    )
    store.take(own)
    for statement in (
        "USE d",
        "CREATE EVENT made ON SCHEDULE EVERY 1 DAY COMMENT 'it''s DISABLE' DO SELECT 'DISABLE'",
        "CREATE EVENT off ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
        "CREATE EVENT gone ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "/* first */ ALTER EVENT `d` . `off` COMMENT 'still off' DO SELECT 2",
        "SET SESSION sql_mode = 'ANSI_QUOTES'",
        'ALTER EVENT "made" RENAME TO d."Made again"',
        "ALTER EVENT old DO SELECT 'mine'",
        "/*!50106 ALTER */ EVENT was ENABLE",
        "DROP EVENT gone",
        "CREATE EVENT IF NOT EXISTS old ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
        "CREATE TABLE event_log (event INT)",
    ):
        client.rows(app, statement)
    expected = own.rows(_EVENTS)
    assert {row[3] for row in expected} == {"ENABLED", "DISABLED"}
    assert [row[2] for row in expected if row[1] == "old"] == ["app@localhost"]
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files) as place, place.connect() as connection:
        assert client.rows(connection, _EVENTS) == expected


def test_every_kind_of_transaction_comes_back(own: Member, store: Store, folder: Path) -> None:
    fill(own)
    store.take(own)
    (own.data / "d" / "load.txt").write_text("a\nb\n")
    own.run(
        "CREATE TABLE d.my (a INT) ENGINE = MyISAM",
        "CREATE TABLE d.ver (a INT) WITH SYSTEM VERSIONING",
        "INSERT INTO d.my VALUES (1)",
        "SET SESSION binlog_format = 'STATEMENT'",
        "BEGIN",
        "INSERT INTO d.t (a) VALUES ('one')",
        "SAVEPOINT s",
        "INSERT INTO d.my VALUES (2)",
        "INSERT INTO d.t (a) VALUES ('two')",
        "ROLLBACK TO s",
        "INSERT INTO d.t (a) VALUES ('three')",
        "COMMIT",
        "SET @told = 'by a variable'",
        "INSERT INTO d.t (a) VALUES (@told), (RAND(7)), (LAST_INSERT_ID())",
        f"LOAD DATA INFILE '{own.data}/d/load.txt' INTO TABLE d.t (a)",
        "SET SESSION binlog_format = 'ROW'",
        "INSERT INTO d.ver VALUES (1)",
        "UPDATE d.ver SET a = 2",
        "DELETE FROM d.ver",
        "XA START 'x'",
        "INSERT INTO d.t (a) VALUES ('xa')",
        "XA END 'x'",
        "XA PREPARE 'x'",
        "XA COMMIT 'x'",
        "SET SESSION gtid_domain_id = 7",
        "INSERT INTO d.t (a) VALUES ('another domain')",
        "SET SESSION gtid_domain_id = 0",
        "SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10",
        "CREATE TABLE d.packed (a TEXT COMMENT '" + "long " * 50 + "')",
        "INSERT INTO d.packed SELECT REPEAT(SHA1(seq), 20) FROM d.seq_1_to_50",
        "SET GLOBAL binlog_checksum = NONE",
        "INSERT INTO d.t (a) VALUES ('unchecked')",
        "INSERT INTO d.my VALUES (9)",
    )
    expected = of(own)
    with rebuilt(store, folder, archived(own, folder / "binlog")) as place:
        found = take(place.connect)
        assert compare(expected, found) == []
        assert found.point == expected.point
        with place.connect() as connection:
            history = "SELECT a, ROW_START, ROW_END FROM d.ver FOR SYSTEM_TIME ALL ORDER BY 1, 2"
            assert client.rows(connection, history) == own.rows(history)


def test_nothing_of_the_replay_stays(own: Member, store: Store, folder: Path) -> None:
    """The service is started on these data next, and must not take itself for a replica."""
    fill(own)
    store.take(own)
    own.run("INSERT INTO d.t (a) VALUES ('first')")
    middle = gtid.parse(own.position())
    own.run("FLUSH BINARY LOGS", "INSERT INTO d.t (a) VALUES ('second')")
    expected = of(own)
    files = archived(own, folder / "binlog")
    with rebuilt(store, folder, files, middle) as place:
        with place.connect() as connection:
            number = client.value(connection, "SELECT @@GLOBAL.server_id")
        way = chain.follow(files, middle)
        replay.run(place, way, middle, None, lambda text: None)
        assert compare(expected, take(place.connect)) == []
        with place.connect() as connection:
            assert client.rows(connection, "SHOW ALL SLAVES STATUS") == []
            assert client.value(connection, "SELECT @@GLOBAL.gtid_slave_pos") == ""
            assert client.rows(connection, "SELECT * FROM mysql.gtid_slave_pos") == []
            assert client.value(connection, "SELECT @@GLOBAL.server_id") == number == 1
        names = {path.name for path in place.data_dir.iterdir()}
        assert not {name for name in names if "relay" in name or "master" in name}


def test_the_first_error_ends_it_with_the_servers_words(
    own: Member, store: Store, folder: Path
) -> None:
    fill(own)
    store.take(own)
    own.run(
        "SET SESSION sql_log_bin = 0",
        "CREATE TABLE d.unknown (a INT)",
        "SET SESSION sql_log_bin = 1",
        "INSERT INTO d.unknown VALUES (1)",
        "INSERT INTO d.t (a) VALUES ('later')",
    )
    files = archived(own, folder / "binlog")
    refused = pytest.raises((CommandFailed, VerificationFailed), match=r"d\.unknown")
    with refused, rebuilt(store, folder, files):
        pass
