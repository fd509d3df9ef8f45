"""Content fingerprints on a private PostgreSQL: exact under a busy writer, and sharp.

Needs PostgreSQL's server programs; as root the servers run as the account ``postgres``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dbops.engines.postgresql import definitions, fingerprint, omitted, tables, wal
from dbops.engines.postgresql.client import Connection
from dbops.errors import CommandFailed
from dbops.manifest import DatabaseFingerprint, Fingerprint, compare
from tests.integration.pair import PORTS, Place, archive_all, bench, copy, pair, wait


@pytest.fixture(scope="module")
def place(programs: Path) -> Iterator[Place]:
    with pair(programs) as here:
        yield here


def only(found: tuple[Fingerprint, ...], database: str) -> DatabaseFingerprint:
    return next(d for one in found for d in one.databases if d.database == database)


def test_both_ways_agree(place: Place) -> None:
    standby, primary = place.take("standby"), place.take("primary")
    assert len(standby) == 1
    assert len(primary) == 2
    assert only(standby, "app") == only(primary, "app")
    names = [table.name for table in only(primary, "app").tables]
    assert 'public.odd "name" $(id)' in names
    assert {"public.parts_1", "public.seen", "public.none"} <= set(names)
    assert not {"public.parts", "public.scrap"} & set(names)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 77", "content"),
        ("DELETE FROM pgbench_accounts WHERE aid = 77", "rows"),
        ("DROP TABLE pgbench_history", "missing table"),
        ("CREATE TABLE intruder (id int)", "unexpected table"),
        ("ALTER TABLE pgbench_tellers ALTER tbalance SET NOT NULL", "definition"),
        ("CREATE INDEX ON pgbench_tellers (bid)", "definition"),
        ('UPDATE "odd ""name"" $(id)" SET j = \'{"a":2}\'', "content"),
        ('UPDATE "odd ""name"" $(id)" SET j = \'{"a": 1}\'', "content"),
        ('UPDATE "odd ""name"" $(id)" SET x = \'<b/>\'', "content"),
        ('UPDATE "odd ""name"" $(id)" SET p = \'(2,1)\'', "content"),
        ('UPDATE "odd ""name"" $(id)" SET n = 1.00', "content"),
        ('UPDATE "odd ""name"" $(id)" SET big = 4294967296', "content"),
        ('UPDATE "odd ""name"" $(id)" SET bits = \'1011\'', "content"),
        ('UPDATE "odd ""name"" $(id)" SET ja = NULL', "content"),
        ('UPDATE "odd ""name"" $(id)" SET c = (1, \'[]\')', "content"),
        ("UPDATE parts SET v = 'x' WHERE id = 50", "content"),
    ],
)
def test_one_change_is_found(place: Place, change: str, what: str) -> None:
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS copy WITH (FORCE)")
        connection.execute("CREATE DATABASE copy TEMPLATE app")
    with place.connect("primary", "copy") as connection:
        connection.execute(change)

    def connect(name: str) -> Connection:
        return place.connect("primary", name)

    (before, after, *_), _ = fingerprint.fingerprint_databases(connect, ["app", "copy"])
    found = compare(whole(before), whole(after))
    assert [difference.what for difference in found] == [what]


def whole(database: DatabaseFingerprint) -> Fingerprint:
    return Fingerprint.model_validate(
        {
            "algorithm": tables.ALGORITHM,
            "point": "0/0",
            "taken_at": "2026-01-01T00:00:00Z",
            "seconds": 0,
            "bytes_read": 0,
            "databases": [database.model_copy(update={"database": "app"})],
        }
    )


def test_rows_hidden_from_the_account_are_an_error(place: Place) -> None:
    with place.connect("primary") as connection:
        connection.execute("CREATE TABLE hidden (id int)")
        connection.execute("ALTER TABLE hidden ENABLE ROW LEVEL SECURITY")
    try:
        with pytest.raises(CommandFailed, match=r"public\.hidden"):
            place.take("primary")
        with place.connect("primary") as connection:
            connection.execute("ALTER ROLE backup BYPASSRLS; INSERT INTO hidden VALUES (1)")
        rows = {table.name: table.rows for table in only(place.take("primary"), "app").tables}
        assert rows["public.hidden"] == 1
    finally:
        with place.connect("primary") as connection:
            connection.execute("ALTER ROLE backup NOBYPASSRLS")
            connection.execute("DROP TABLE hidden")


def test_a_truncate_meanwhile_waits_and_is_not_mistaken(place: Place) -> None:
    with place.connect("primary") as reader, place.connect("primary") as writer:
        held = tables.begin(reader)
        writer.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            writer.execute("TRUNCATE parts")
        found, _ = tables.digest(reader, "app", held)
        reader.execute("ROLLBACK")
    assert {table.name: table.rows for table in found.tables}["public.parts_1"] == 50


def test_the_replay_goes_on_afterwards_and_after_a_killed_run(place: Place) -> None:
    place.take("standby")
    with place.connect("standby") as connection:
        query = "SELECT pg_get_wal_replay_pause_state()"
        assert connection.execute(query).fetchall() == [("not paused",)]
        connection.execute("SELECT pg_wal_replay_pause()")
        note = place.root / "state" / "replay-paused.json"
        note.write_text('{"member": null}', encoding="utf-8")
        place.take("standby")
        assert connection.execute(query).fetchall() == [("not paused",)]
        assert not note.exists()


def test_restored_to_its_point_the_content_is_the_same(place: Place) -> None:
    """Four writers never stop; five fingerprints each way; every one is met exactly."""
    copy(place, "restored")
    prefix = ["runuser", "-u", place.account, "--"] if os.geteuid() == 0 else []
    writers = subprocess.Popen(
        [*prefix, str(place.programs / "pgbench"), *bench(place), "-n", "-c", "4", "-T", "600"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place.root,
    )
    try:
        taken = [
            one for _ in range(5) for way in PORTS if way != "restored" for one in place.take(way)
        ]
    finally:
        writers.terminate()
        writers.wait()
    archive_all(place)
    taken = [one for one in taken if "app" in {each.database for each in one.databases}]
    assert len(taken) >= 10
    for expected in sorted(taken, key=lambda one: wal.parse_lsn(one.point)):
        assert compare(expected, content_at(place, expected)) == []


def content_at(place: Place, expected: Fingerprint) -> Fingerprint:
    (place.root / "restored" / "recovery.signal").touch()
    place.configure(
        "restored",
        f"restore_command = 'cp {place.root}/archive/%f %p'",
        f"recovery_target_lsn = '{expected.point}'",
        "recovery_target_inclusive = off",
        f"recovery_target_timeline = {expected.timeline}",
    )
    place.start("restored")
    try:
        with place.connect("restored") as connection:
            wait(
                lambda: (
                    connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchall()
                    == [("paused",)]
                )
            )
        with place.connect("restored", "postgres") as connection:
            there = fingerprint.readable(connection)
        names = [one.database for one in expected.databases if one.database in there]
        found, _ = fingerprint.fingerprint_databases(
            lambda name: place.connect("restored", name), names
        )
    finally:
        place.run("pg_ctl", "-D", str(place.root / "restored"), "-m", "fast", "-w", "stop")
    return expected.model_copy(update={"databases": found})


_KINDS = """
CREATE EXTENSION citext; CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE named AS (a text, j json, b bool);
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE TYPE pairs AS RANGE (subtype = citext);
CREATE DOMAIN d_int AS int CHECK (VALUE > 0);
CREATE DOMAIN d_bool AS bool; CREATE DOMAIN d_char AS char(5); CREATE DOMAIN d_net AS inet;
CREATE DOMAIN d_mood AS mood; CREATE DOMAIN d_ci AS citext; CREATE DOMAIN d_d_ci AS d_ci;
CREATE DOMAIN d_named AS named; CREATE DOMAIN d_ints AS int[];
CREATE TABLE kinds (n int, e mood, es mood[], c named, cs named[], f floats, p pairs, i int4range,
  di d_int, db d_bool, dc d_char, dn d_net, dm d_mood, dci d_ci, ddci d_d_ci, dna d_named,
  dis d_ints, dmoods d_mood[], ci citext, cis citext[], h hstore, hs hstore[], ca "char", na name,
  js json[], fm floatmulti);
INSERT INTO kinds (n) VALUES (0);
INSERT INTO kinds (n, c, dna, cs)
  VALUES (1, ROW(NULL, NULL, NULL), ROW(NULL, NULL, NULL), '{NULL}');
INSERT INTO kinds VALUES (2, 'ok', '{ok,sad}', ('x, "y"', '{"a" : 1}', true),
  ARRAY[('x', '[1]', false), NULL]::named[], '[1.5,2)', '[a,B)', '[1,5)', 7, true, 'ab', '10.0.0.1',
  'sad', 'Ci', 'CiCi', ('z', '{}', NULL), '{1,NULL}', '{ok}', 'ABC', '{a,B}', 'a=>1, b=>NULL',
  ARRAY['x=>y'::hstore], 'c', 'nm', ARRAY['{}'::json], '{[1,2),[3,4)}');
"""


def test_a_types_own_words_are_those_of_its_cast(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So checksums that were made by casts go on being right wherever no user made a cast."""
    made = _KINDS.replace("floatmulti", "floats_multirange")
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS kinds WITH (FORCE)")
        connection.execute("CREATE DATABASE kinds")
    with place.connect("primary", "kinds") as connection:
        connection.execute(made)
        columns = [row[0] for row in connection.execute(_EACH).fetchall()]
        for column in columns:  # a table for each, so that each difference would be seen
            table = sql.SQL("CREATE TABLE {} AS SELECT {} FROM kinds")
            names = (sql.Identifier(f"of_{column}"), sql.Identifier(column))
            connection.execute(table.format(*names))

    def connect(name: str) -> Connection:
        return place.connect("primary", name)

    now, _ = fingerprint.fingerprint_databases(connect, ["kinds"])
    cast = sql.SQL('{}::text COLLATE "C"')
    monkeypatch.setattr(tables, "_text", lambda value, column: cast.format(value))
    assert fingerprint.fingerprint_databases(connect, ["kinds"]) == (now, ())
    assert len(now[0].tables) == len(columns) + 1
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE kinds WITH (FORCE)")


_EACH = """
SELECT attname FROM pg_attribute WHERE attrelid = 'kinds'::regclass AND attnum > 0"""

_PLANT = """
CREATE FUNCTION p.trap() RETURNS void LANGUAGE plpgsql AS $$BEGIN
  IF current_user <> 'planter' THEN RAISE EXCEPTION 'called by %', current_user; END IF; END$$;
CREATE TYPE t AS (a int, j json);
CREATE FUNCTION words(t) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM p.trap(); RETURN 1; END';
CREATE CAST (t AS text) WITH FUNCTION words(t);
CREATE FUNCTION words(t[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM p.trap(); RETURN 1; END';
CREATE CAST (t[] AS text) WITH FUNCTION words(t[]);
CREATE DOMAIN dt AS t;
CREATE FUNCTION fits(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE
  AS 'BEGIN PERFORM p.trap(); RETURN true; END';
CREATE DOMAIN d AS int CHECK (fits(VALUE));
CREATE TABLE cast_off AS SELECT ROW(1, '{}')::t AS a, ROW(1, '{}')::dt AS b,
  ARRAY[ROW(1, '{}')::t] AS c, 1::d AS d;
CREATE FUNCTION one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
  AS 'BEGIN PERFORM p.trap(); RETURN $1; END';
CREATE OPERATOR ## (FUNCTION = one, RIGHTARG = int);
CREATE TABLE by_expression AS SELECT g AS v FROM generate_series(1, 9) g;
CREATE INDEX ON by_expression ((v + one(1)));
CREATE TABLE by_operator AS SELECT g AS v FROM generate_series(1, 9) g;
CREATE INDEX ON by_operator ((v + ## 1));
CREATE TABLE by_condition AS SELECT g AS v FROM generate_series(1, 9) g;
CREATE INDEX ON by_condition (v) WHERE v > one(1);
CREATE TABLE by_statistics AS SELECT g AS v FROM generate_series(1, 9) g;
CREATE STATISTICS s ON (v + one(1)), (v * 2) FROM by_statistics; ANALYZE by_statistics;
CREATE TABLE by_exclusion (v int, EXCLUDE USING btree ((v + one(1)) WITH =));
CREATE TABLE by_check (v int CHECK (v > one(0))); INSERT INTO by_check VALUES (1);
CREATE MATERIALIZED VIEW by_view AS SELECT v FROM by_expression;
CREATE INDEX ON by_view ((v + one(1)));
"""


@pytest.fixture
def planted(place: Place) -> Iterator[Place]:
    with place.connect("primary", "postgres") as connection:
        connection.execute("CREATE ROLE planter")
        connection.execute("CREATE DATABASE planted OWNER planter")
    with place.connect("primary", "planted") as connection:
        connection.execute("SET ROLE planter; CREATE SCHEMA p; SET search_path = p")
        connection.execute(_PLANT)
        connection.execute(
            "ALTER DATABASE planted SET search_path = p, pg_catalog;"
            "ALTER DATABASE planted SET constraint_exclusion = on"
        )
    yield place
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE planted WITH (FORCE)")
        connection.execute("DROP ROLE planter")


def test_no_function_of_a_user_is_called(planted: Place) -> None:
    found = only(planted.take("primary"), "planted")
    rows = {table.name: table.rows for table in found.tables}
    counted = ("expression", "operator", "condition", "statistics")
    assert [rows[f"p.by_{name}"] for name in counted] == [9, 9, 9, 9]
    assert rows["p.cast_off"] == 1


def test_a_change_in_a_table_that_is_copied_is_found(planted: Place) -> None:
    before = only(planted.take("primary"), "planted")
    with planted.connect("primary", "planted") as connection:
        connection.execute("SET ROLE planter; UPDATE p.by_operator SET v = 99 WHERE v = 9")
    differences = compare(whole(before), whole(only(planted.take("primary"), "planted")))
    assert [(one.table, one.what) for one in differences] == [("p.by_operator", "content")]


@pytest.fixture
def ascii_place(place: Place) -> Iterator[Place]:
    """A database without an encoding, with a name and a value that are text in none."""
    with place.connect("primary", "postgres") as connection:
        connection.execute(
            "CREATE DATABASE legacy ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
        )
    with place.connect("primary", "legacy") as connection:
        connection.execute("SET client_encoding = 'LATIN1'")
        connection.execute("CREATE TABLE caf\xe9 AS SELECT 'na\xefve' AS v")
        connection.execute(
            "CREATE FUNCTION same(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
            "CREATE TABLE copied AS TABLE caf\xe9; CREATE INDEX ON copied (same(v));"
            "CREATE ROLE legacy_owner; ALTER FUNCTION same OWNER TO legacy_owner"
        )
    yield place
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE legacy WITH (FORCE)")
        connection.execute("DROP ROLE legacy_owner")


def test_a_database_without_an_encoding_is_read_like_any_other(ascii_place: Place) -> None:
    before = only(ascii_place.take("primary"), "legacy")
    rows = {table.name: table.rows for table in before.tables}
    assert rows == {"public.caf\xe9": 1, "public.copied": 1}
    with ascii_place.connect("primary", "legacy") as connection:
        connection.execute("SET client_encoding = 'LATIN1'")
        connection.execute("UPDATE caf\xe9 SET v = 'na\xeeve'; UPDATE copied SET v = 'na\xeeve'")
    differences = compare(whole(before), whole(only(ascii_place.take("primary"), "legacy")))
    assert [(one.table, one.what) for one in differences] == [
        ("public.caf\xe9", "content"),
        ("public.copied", "content"),
    ]


def test_each_column_of_the_widest_table_counts(place: Place) -> None:
    columns = [f"c{number}" for number in range(1600)]
    with place.connect("primary") as connection:
        kinds = ", ".join(
            f"{name} {'bigint' if n < 1000 else 'bool'}" for n, name in enumerate(columns)
        )
        connection.execute(f"CREATE TABLE wide ({kinds})".encode())
        connection.execute("INSERT INTO wide (c0) VALUES (1)")
    try:
        seen = set()
        for change in ("c0 = 1", "c0 = 2", "c700 = 1", "c999 = 4294967296", "c1599 = true"):
            with place.connect("primary") as connection:
                connection.execute(sql.SQL("UPDATE wide SET {}").format(sql.SQL(change)))
            held, _ = fingerprint.fingerprint_databases(
                lambda name: place.connect("primary", name), ["app"]
            )
            seen.add(next(t.checksum for t in held[0].tables if t.name == "public.wide"))
        assert len(seen) == 5
    finally:
        with place.connect("primary") as connection:
            connection.execute("DROP TABLE wide")


_LEFT_OUT = """
CREATE TABLE kept AS SELECT g AS id FROM generate_series(1, 50) g;
CREATE UNLOGGED TABLE gone AS TABLE kept;
CREATE UNLOGGED SEQUENCE counter; CREATE SEQUENCE kept_counter;
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER there FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE far (id int) SERVER there;
SELECT lo_from_bytea(77, 'abc');
"""


@pytest.fixture
def beside(place: Place) -> Iterator[Place]:
    """Two databases beside the users' own: a template, and one that takes no connections."""
    with place.connect("primary", "postgres") as connection:
        for name in ("pattern", "frozen"):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with place.connect("primary", name) as inside:
                inside.execute(_LEFT_OUT)
        connection.execute("ALTER DATABASE pattern IS_TEMPLATE true")
        connection.execute("ALTER DATABASE frozen ALLOW_CONNECTIONS false")
    yield place
    with place.connect("primary", "postgres") as connection:
        connection.execute("ALTER DATABASE pattern IS_TEMPLATE false")
        connection.execute("DROP DATABASE pattern")
        connection.execute("DROP DATABASE frozen")


def caught_up(place: Place) -> None:
    with place.connect("primary", "postgres") as connection:
        row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchall()[0]
    with place.connect("standby", "postgres") as connection:
        wait(
            lambda: (
                connection.execute(
                    "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [row[0]]
                ).fetchall()
                == [(True,)]
            )
        )


@pytest.mark.parametrize("way", ["standby", "primary"])
def test_what_cannot_be_read_is_named_and_all_else_is_read(beside: Place, way: str) -> None:
    caught_up(beside)
    taken = beside.take(way)
    rows = {table.name: table.rows for table in only(taken, "pattern").tables}
    assert rows == {"pg_catalog.pg_largeobject": 1, "public.kept": 50}
    left = {
        (one.database, one.name, one.kind)
        for part in taken
        for one in part.omitted
        if one.database in ("", "pattern")
    }
    assert left == {
        ("", "frozen", "database"),
        ("pattern", "public.far", "foreign table"),
        ("pattern", "public.gone", "unlogged table"),
        ("pattern", "public.counter", "unlogged sequence"),
        ("pattern", "1 sequence", "sequence state"),
    }


def test_a_change_of_a_large_object_is_found(beside: Place) -> None:
    before = only(beside.take("primary"), "pattern")
    with beside.connect("primary", "pattern") as connection:
        connection.execute("SELECT lo_put(77, 0, 'x')")
    differences = compare(whole(before), whole(only(beside.take("primary"), "pattern")))
    assert [(one.table, one.what) for one in differences] == [
        ("pg_catalog.pg_largeobject", "content")
    ]


def test_a_former_fingerprint_is_met_and_what_it_lacks_is_named(beside: Place) -> None:
    def connect(name: str) -> Connection:
        return beside.connect("primary", name)

    former = tables.FORMER
    with connect("postgres") as connection:
        names = fingerprint.readable(connection, former)
        left = omitted.of_cluster(connection, former)
    assert {"app", "postgres"} <= set(names)
    assert not {"pattern", "template1"} & set(names)
    assert [one.name for one in left] == ["frozen", "pattern"]
    (found,), more = fingerprint.fingerprint_databases(connect, ["pattern"], algorithm=former)
    assert [table.name for table in found.tables] == ["public.kept"]
    assert ("pg_catalog.pg_largeobject", "table of large objects") in {
        (one.name, one.kind) for one in more
    }


_OWN_WAYS = {
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "extra_float_digits": "-8",
    "idle_session_timeout": "1ms",
    "intervalstyle": "sql_standard",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "timezone": "Asia/Kathmandu",
    "xmloption": "document",
}
_TOLD = r"""
CREATE TYPE told AS (f float8, b bytea, t timestamptz, i interval, j json);
CREATE TABLE own_ways AS SELECT 0.1::float8 + 0.2 AS f, now() AS t, '1 day -2:00'::interval AS i,
  '\x00ff'::bytea AS b, '1.50'::money AS m, ROW(0.1::float8 + 0.2, '\x00ff', '2026-01-01Z',
  '-1 day 2:00', '{}')::told AS c;
ALTER TABLE own_ways ALTER f SET DEFAULT 0.1 + 0.2, ALTER t SET DEFAULT '2026-02-03 04:05:06Z',
  ADD CHECK (b::text <> 'a\b');
"""


def test_how_a_database_writes_values_changes_no_checksum(place: Place) -> None:
    with place.connect("primary", "postgres") as connection:
        connection.execute("CREATE DATABASE ways")
    try:
        with place.connect("primary", "ways") as connection:
            connection.execute(_TOLD)
        before = only(place.take("primary"), "ways")
        with place.connect("primary", "postgres") as connection:
            for name, value in _OWN_WAYS.items():
                connection.execute(
                    sql.SQL("ALTER DATABASE ways SET {} = {}").format(
                        sql.Identifier(name), sql.Literal(value)
                    )
                )
        assert only(place.take("primary"), "ways") == before
    finally:
        with place.connect("primary", "postgres") as connection:
            connection.execute("DROP DATABASE ways WITH (FORCE)")


_DEFINED = """
CREATE TABLE t (id int); CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE SEQUENCE numbers;
CREATE FUNCTION half(int) RETURNS int LANGUAGE sql AS 'SELECT $1 / 2';
CREATE VIEW many AS SELECT count(*) AS n FROM t;
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER stops BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stop();
"""
_CHANGES = (
    ("CREATE OR REPLACE FUNCTION half(int) RETURNS int LANGUAGE sql AS 'SELECT 3'", "functions"),
    ("REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM PUBLIC", "functions"),
    ("CREATE OR REPLACE VIEW many AS SELECT count(*) + 1 AS n FROM t", "views"),
    ("GRANT SELECT ON t TO PUBLIC", "relations"),
    ("ALTER TABLE t DISABLE TRIGGER stops", "triggers"),
    ("CREATE POLICY nobody ON t USING (false)", "triggers"),
    ("ALTER TYPE mood ADD VALUE 'glad'", "types"),
    ("ALTER SEQUENCE numbers INCREMENT 5", "relations"),
    ("CREATE FOREIGN DATA WRAPPER nowhere", "extensions"),
    ("CREATE PUBLICATION news", "publications"),
    ("SELECT lo_create(99999)", "owners"),
    ("ALTER ROLE backup SET work_mem = '5MB'", "roles"),
    ("CREATE ROLE other", "roles"),
    ("ALTER DATABASE defined CONNECTION LIMIT 7", "databases"),
)


def test_each_changed_definition_is_found(place: Place) -> None:
    with place.connect("primary", "postgres") as connection:
        connection.execute("CREATE DATABASE defined")
    with place.connect("primary", "defined") as connection:
        bare = defined(connection)["the system's own"]
        connection.execute("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO backup")
        assert defined(connection)["the system's own"] != bare
        connection.execute(_DEFINED)
        before = defined(connection)
        for change, group in _CHANGES:
            connection.execute(change.encode())
            now = defined(connection)
            found = {name.split()[0] for name in now if now[name] != before.get(name)} - {"the"}
            assert found == {group}, change
            before = now
        connection.execute("INSERT INTO t VALUES (1); ANALYZE")
        assert defined(connection) == before
    with place.connect("primary", "postgres") as connection:
        connection.execute("DROP DATABASE defined WITH (FORCE)")
        connection.execute("ALTER ROLE backup RESET ALL; DROP ROLE other")


def defined(connection: Connection) -> dict[str, str]:
    """Return the checksums of what is defined in a database and its cluster."""
    connection.execute("VACUUM")
    tables.begin(connection)
    read = definitions.of_database(connection, "x"), definitions.of_cluster(connection)
    connection.execute("ROLLBACK")
    return {table.name: table.checksum for one in read for table in one.tables}
