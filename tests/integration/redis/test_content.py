"""What the fingerprint sees in a real server, and what it must not see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from dbops.engines.redis import content
from dbops.engines.redis.client import Ask, Connection
from dbops.manifest import Fingerprint, compare
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import Server

DATA: tuple[Ask, ...] = (
    ("SET", "text", "value"),
    ("SET", b"\x00\xff", b"\xfe\x00"),
    ("RPUSH", "list", "one", "two", "three"),
    ("SADD", "set", "a", "b", "c"),
    ("HSET", "hash", "field", "value", "other", "thing"),
    ("ZADD", "zset", 1.5, "low", "+inf", "high"),
    ("XADD", "stream", "1-1", "name", "value"),
    ("XGROUP", "CREATE", "stream", "group", 0),
    ("XREADGROUP", "GROUP", "group", "one", "STREAMS", "stream", ">"),
    ("SELECT", 3),
    ("SET", "elsewhere", 1),
    ("SELECT", 0),
)


def read(server: Server, algorithm: str = content.ALGORITHM) -> Fingerprint:
    """Return the fingerprint of a running server."""
    with server.connect() as connection:
        databases, size = content.read(connection, lambda text: None, algorithm=algorithm)
    return Fingerprint(
        algorithm=algorithm,
        point="",
        taken_at=datetime.now(UTC),
        seconds=0,
        bytes_read=size,
        databases=databases,
    )


def differences(before: Fingerprint, after: Fingerprint) -> list[tuple[str, str, str]]:
    """Return the differences that a drill would report now."""
    now = datetime.now(UTC)
    found = compare(content.settled(before, now), content.settled(after, now))
    return [(one.database, one.table, one.what) for one in found]


@pytest.mark.parametrize(
    ("change", "database", "table", "what"),
    [
        (("SET", "text", "valuf"), "0", "string", "content"),
        (("DEL", "text"), "0", "string", "rows"),
        (("RENAME", "text", "texts"), "0", "string", "content"),
        (("SREM", "set", "b"), "0", "set", "content"),
        (("HSET", "hash", "field", "valuf"), "0", "hash", "content"),
        (("HDEL", "hash", "other"), "0", "hash", "content"),
        (("ZADD", "zset", 1.6, "low"), "0", "zset", "content"),
        (("LSET", "list", 0, "two"), "0", "list", "content"),
        (("RPOPLPUSH", "list", "list"), "0", "list", "content"),
        (("XADD", "stream", "1-2", "name", "value"), "0", "stream", "content"),
        (("XACK", "stream", "group", "1-1"), "0", "stream", "content"),
        (("XGROUP", "DESTROY", "stream", "group"), "0", "stream", "content"),
        (("XGROUP", "SETID", "stream", "group", 0), "0", "stream", "content"),
        (("MOVE", "text", 5), "5", "string", "missing table"),
    ],
)
def test_one_change_is_found(
    launch: Launch, change: Ask, database: str, table: str, what: str
) -> None:
    server = launch()
    server.run(*DATA)
    before = read(server)
    assert differences(before, read(server)) == []
    server.run(change)
    if what == "missing table":
        assert (database, table, what) in differences(read(server), before)
    else:
        assert differences(before, read(server)) == [(database, table, what)]


def test_a_missing_database_and_a_function_are_found(launch: Launch) -> None:
    server = launch()
    code = "#!lua name=mine\nredis.register_function('f', function() return 1 end)"
    server.run(*DATA, ("FUNCTION", "LOAD", code))
    before = read(server)
    server.run(("FUNCTION", "LOAD", "REPLACE", code.replace("1 end", "2 end")))
    assert differences(before, read(server)) == [("functions", "library", "content")]
    server.run(("FUNCTION", "DELETE", "mine"), ("SELECT", 3), ("FLUSHDB",))
    assert sorted(differences(before, read(server))) == [
        ("3", "string", "missing table"),
        ("functions", "library", "missing table"),
    ]


def test_the_order_in_which_it_was_written_does_not_matter(launch: Launch) -> None:
    one, other = launch(), launch()
    one.run(*DATA)
    other.run(*[ask for ask in reversed(DATA) if ask[0] in ("SET", "SADD", "ZADD", "HSET")])
    other.run(("DEL", "set"), ("SADD", "set", "c"), ("SADD", "set", "a", "b"))
    other.run(("MOVE", "elsewhere", 3))
    one.run(("DEL", "stream", "list"))
    assert differences(read(one), read(other)) == []


def test_how_it_is_encoded_does_not_matter(launch: Launch) -> None:
    one, other = launch(), launch(hash_max_listpack_entries="1", zset_max_listpack_entries="1")
    for server in (one, other):
        server.run(*DATA)
    assert one.run(("OBJECT", "ENCODING", "hash")) != other.run(("OBJECT", "ENCODING", "hash"))
    assert differences(read(one), read(other)) == []


@pytest.mark.parametrize("algorithm", [content.ALGORITHM, content.FORMER])
def test_how_it_is_read_does_not_matter(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Sizes just below and above those that are counted in one way and in the other."""
    one, other = launch(), launch()
    for server, step in ((one, 1), (other, -1)):
        for size in (1, 511, 512, 513, 1025):
            for n in list(range(size))[::step]:
                server.run(
                    ("HSET", f"hash{size}", f"f{n}", n),
                    ("SADD", f"set{size}", f"m{n}"),
                    ("ZADD", f"zset{size}", n % 7, f"m{n}"),
                )
    whole = read(one, algorithm)
    monkeypatch.setattr(content, "_WHOLE_BYTES", 0)
    assert differences(whole, read(other, algorithm)) == []
    for key in ("hash512", "set513", "zset512"):
        other.run({"h": ("HSET", key, "f1", "x"), "s": ("SREM", key, "m1")}.get(
            key[0], ("ZADD", key, 8, "m1")))  # fmt: skip
    assert {one[1] for one in differences(whole, read(other, algorithm))} == {
        "hash", "set", "zset"}  # fmt: skip


def test_what_expires_raises_no_false_alarm_and_hides_nothing(launch: Launch) -> None:
    server = launch()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    later = datetime.now(UTC) + timedelta(hours=3)
    server.run(*DATA)
    server.run(("SET", "brief", 1, "PXAT", int(soon.timestamp() * 1000)))
    server.run(("SET", "long", 1, "PXAT", int(later.timestamp() * 1000)))
    before = read(server)
    hours = {table.name for table in before.databases[0].tables if "expiring" in table.name}
    assert hours == {f"string expiring {moment:%Y-%m-%dT%H}" for moment in (soon, later)}
    time.sleep(1.2)
    assert server.run(("EXISTS", "brief")) == [0]
    assert differences(before, read(server)) == []
    server.run(("PEXPIREAT", "long", int(later.timestamp() * 1000) + 1))
    assert differences(before, read(server)) == [
        ("0", f"string expiring {later:%Y-%m-%dT%H}", "content")
    ]


def test_the_heartbeat_is_no_content(launch: Launch) -> None:
    server = launch()
    server.run(*DATA)
    before = read(server)
    server.run(("HSET", content.HEARTBEAT, "sequence", 1))
    assert differences(before, read(server)) == []


@contextmanager
def asked(connection: Connection) -> Iterator[list[list[str]]]:
    """Yield a list that holds, after the block, the words of each command the server was sent."""
    found: list[list[str]] = []
    connection.ask("CONFIG", "SET", "slowlog-max-len", 1_000_000)
    connection.ask("CONFIG", "SET", "slowlog-log-slower-than", 0)
    connection.ask("SLOWLOG", "RESET")
    yield found
    connection.ask("CONFIG", "SET", "slowlog-log-slower-than", -1)
    for entry in connection.ask("SLOWLOG", "GET", -1):
        found.append([text(word) for word in entry[3]])


def text(word: object) -> str:
    """Return a word of a command as text."""
    return word.decode() if isinstance(word, bytes) else str(word)


_OF_ONE_KEY = {"GET", "LLEN", "MEMORY", "PEXPIRETIME", "STRLEN", "TYPE", "XINFO"}
_OF_THE_SERVER = {"COMMAND", "CONFIG", "FUNCTION", "INFO", "SELECT", "SLOWLOG"}


def assert_small(found: list[list[str]]) -> None:
    """Assert that each command gives few things, so that others never wait long for their turn."""
    assert len(found) > 10
    for name, *words in found:
        if name.upper() in ("SCAN", "HSCAN", "SSCAN", "ZSCAN", "XRANGE"):
            assert int(words[words.index("COUNT") + 1]) <= 1000, words
        elif name.upper() in ("LRANGE", "GETRANGE"):
            start, stop = int(words[1]), int(words[2])
            assert 0 <= stop - start < (1 << 20 if name.upper() == "GETRANGE" else 1000), words
        else:
            assert name.upper() in _OF_ONE_KEY | _OF_THE_SERVER, (name, words)


def test_large_collections_are_read_in_pieces_and_whole(launch: Launch) -> None:
    server = launch()
    with server.connect() as connection:
        for start in range(0, 60_000, 1000):
            some = range(start, start + 1000)
            connection.many(
                [
                    ("HSET", "hash", *(part for n in some for part in (f"f{n}", f"v{n}"))),
                    ("SADD", "set", *(f"m{n}" for n in some)),
                    ("ZADD", "zset", *(part for n in some for part in (n, f"m{n}"))),
                    ("RPUSH", "list", *(f"m{n}" for n in some)),
                    *(("XADD", "stream", f"{n + 1}-1", "f", n) for n in some),
                ]
            )
        connection.ask("SET", "string", b"x" * 5_000_000)
        with asked(connection) as found:
            before = read(server)
        assert_small(found)
    for change, table in (
        (("HSET", "hash", "f59999", "v"), "hash"),
        (("SREM", "set", "m30000"), "set"),
        (("ZINCRBY", "zset", 1, "m1"), "zset"),
        (("LSET", "list", 59_999, "m"), "list"),
        (("XDEL", "stream", "30000-1"), "stream"),
        (("SETRANGE", "string", 4_999_999, "y"), "string"),
    ):
        server.run(change)
        after = read(server)
        assert differences(before, after) == [("0", table, "content")]
        before = after


def test_many_keys_are_read_in_pieces_and_whole(launch: Launch) -> None:
    server = launch()
    with server.connect() as connection:
        connection.many([("SET", f"k{n}", n) for n in range(10_000)])
        with asked(connection) as found:
            assert read(server).rows == 10_000
        assert_small(found)


def test_fields_of_hashes_that_expire(launch: Launch) -> None:
    server = launch()
    with server.connect() as connection:
        if not content.knows_field_expiry(connection):
            pytest.skip("this server lets no field of a hash expire")
    later = datetime.now(UTC) + timedelta(hours=3)
    server.run(("HSET", "hash", "stays", 1, "goes", 2, "later", 3))
    server.run(("HPEXPIRE", "hash", 500, "FIELDS", 1, "goes"))
    server.run(("HEXPIREAT", "hash", int(later.timestamp()), "FIELDS", 1, "later"))
    before = read(server)
    time.sleep(0.7)
    assert server.run(("HEXISTS", "hash", "goes")) == [0]
    assert differences(before, read(server)) == []
    server.run(("HEXPIREAT", "hash", int(later.timestamp()) + 1, "FIELDS", 1, "later"))
    assert differences(before, read(server)) == [
        ("0", f"hash field expiring {later:%Y-%m-%dT%H}", "content")
    ]
