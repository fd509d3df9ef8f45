"""Relay files hold the wanted transactions and no others; events' states are read out of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dbops.engines.mysql import binlog, gtid, relay, scheduled
from dbops.engines.mysql.scheduled import ELSEWHERE, OFF, ON, Statement
from tests.unit.mysql.made import event, log, query, transaction


def numbers(place: Path, names: tuple[str, ...]) -> list[int]:
    return [part.gtid.number for name in names for part in binlog.parts(_renumbered(place / name))]


def _renumbered(path: Path) -> Path:
    """Let each event say where it ends: the server that applies it asks for no such thing."""
    whole, place = bytearray(path.read_bytes()), 4
    while place < len(whole):
        place += struct.unpack_from("<I", whole, place + 9)[0]
        struct.pack_into("<I", whole, place - _size(whole, place) + 13, place)
    path.write_bytes(whole)
    return path


def _size(whole: bytearray, end: int) -> int:
    place = 4
    while True:
        size = int(struct.unpack_from("<I", whole, place + 9)[0])
        if place + size == end:
            return size
        place += size


def test_exactly_what_is_wanted_is_written(tmp_path: Path) -> None:
    first = log(tmp_path / "a/binlog.000001", "", *[transaction(n) for n in range(1, 6)])
    second = log(
        tmp_path / "a/binlog.000002",
        "0-1-5",
        transaction(6),
        transaction(1, domain=7),
        transaction(7),
        transaction(8),
    )
    place = tmp_path / "relay"
    place.mkdir()
    found = relay.write(
        [first, second], gtid.parse("0-1-3"), gtid.parse("0-1-7,7-1-1"), place, "nobody"
    )
    assert found.names == ("relay-bin.000001", "relay-bin.000002")
    assert numbers(place, found.names) == [4, 5, 6, 1, 7]
    assert str(found.last) == "0-1-7,7-1-1"
    assert (place / relay.INDEX).read_text().split() == [str(place / n) for n in found.names]


def test_a_file_without_anything_wanted_is_left_out(tmp_path: Path) -> None:
    path = log(tmp_path / "a/binlog.000001", "", transaction(1))
    (tmp_path / "relay").mkdir()
    found = relay.write([path], gtid.parse("0-1-1"), None, tmp_path / "relay", "nobody")
    assert found.names == ()


def test_no_link_is_followed(tmp_path: Path) -> None:
    path = log(tmp_path / "a/binlog.000001", "", transaction(1))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "relay").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        relay.write([path], gtid.parse(""), None, tmp_path / "relay", "nobody")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_transaction_ends_where_the_server_ends_it(tmp_path: Path) -> None:
    """A savepoint ends none, and the end of one that no engine numbers has a checksum behind it."""
    begun = event(162, struct.pack("<QIB", 1, 0, 0))
    path = log(
        tmp_path / "binlog.000001",
        "",
        begun + event(2, query("ROLLBACK TO `s`") + b"sumx") + event(2, query("COMMIT") + b"sumx"),
        transaction(2),
    )
    first, second = binlog.parts(path)
    assert first.end == second.start
    assert binlog.summary(path).after == gtid.parse("0-1-2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE DEFINER=`a`@`b` EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1", ("d", "e", ON)),
        ("create event `x`.`E` on schedule every 1 day disable do select 1", ("x", "e", OFF)),
        ("/* EVENT */ ALTER EVENT e COMMENT 'DISABLE'", ("d", "e", None)),
        ("/*!50106 ALTER */ EVENT e ENABLE", ("d", "e", ON)),
        ("ALTER EVENT e COMMENT 'it\\'s ENABLE' DISABLE ON SLAVE", ("d", "e", ELSEWHERE)),
        ("ALTER EVENT e --\x01 DISABLE\n ENABLE", ("d", "e", ON)),
    ],
)
def test_a_statement_about_an_event_tells_its_state(
    text: str, expected: tuple[str, str, str | None]
) -> None:
    found = scheduled.parse(text, "d")
    assert found is not None
    assert (*found.event, found.state) == expected


@pytest.mark.parametrize(
    "text",
    ["CREATE TABLE event (event INT)", "CREATE TRIGGER t EVENT", "INSERT INTO event", "", "DO 1"],
)
def test_other_statements_tell_nothing(text: str) -> None:
    assert scheduled.parse(text, "d") is None


def test_states_follow_names() -> None:
    e, f = ("d", "e"), ("d", "f")
    said = [
        Statement("CREATE", e, OFF),
        Statement("ALTER", e, None, f),
        Statement("DROP", ("d", "g")),
    ]
    assert scheduled.followed({("d", "g"): ON}, said) == {f: OFF}
    there = Statement("CREATE", e, OFF, unless_there=True)
    assert scheduled.followed({e: ON}, [there]) == {e: ON}
