"""Positions: parsed, compared, joined."""

from __future__ import annotations

import pytest

from dbops.engines.mysql import gtid
from dbops.engines.mysql.gtid import Gtid, Position
from dbops.errors import ConfigError

UUID = "3E11FA47-71CA-11E1-9E33-C80AA9429562"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0-1-42", "0-1-42"),
        (" 10-7-3 , 2-1-1", "2-1-1,10-7-3"),
        ("", ""),
        (f"{UUID}:1-77", f"{UUID.lower()}:1-77"),
        (f"{UUID}:5", f"{UUID.lower()}:1-5"),
        (f"{UUID}:1-5:Tag_1:1-3", f"{UUID.lower()}:1-5,{UUID.lower()}:tag_1:1-3"),
        (f"{UUID}:tag:1,\n0{UUID[1:]}:1-2", f"0{UUID[1:].lower()}:1-2,{UUID.lower()}:tag:1-1"),
    ],
)
def test_a_list_is_read_and_written(text: str, shown: str) -> None:
    assert str(gtid.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [f"{UUID}", f"{UUID}:", f"{UUID}:t", f"{UUID}:1-3:9-", f"{UUID}:1-3:t-", f"{UUID}:1:1",
     "x", "0-1", "0-1-2-3", "-1-1-1", "0-1-2;0-1-3", "0-1-2,0-2-3", "'; DROP", "1" * 99 + "-1-1"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        gtid.parse(text)


def test_positions_are_compared_by_history() -> None:
    one, other = gtid.parse("0-1-5,1-1-9"), gtid.parse("0-2-5,1-1-3")
    assert one.holds(other)
    assert not other.holds(one)
    assert one.holds(Gtid("1", 9, 9))
    assert not one.holds(Gtid("7", 1, 1))
    assert one.holds(Position())


def test_positions_of_the_same_numbers_are_equal() -> None:
    assert gtid.parse("0-1-5") == gtid.parse("0-2-5")
    assert gtid.parse("0-1-5") != gtid.parse("0-1-6")
    assert len({gtid.parse("0-1-5"), gtid.parse("0-2-5")}) == 1


def test_joined_takes_the_furthest_of_each() -> None:
    assert str(gtid.parse("0-1-5,1-1-9").joined(gtid.parse("0-2-7,2-1-1"))) == "0-2-7,1-1-9,2-1-1"
    assert str(gtid.parse("0-1-5").after(Gtid("0", 2, 6))) == "0-2-6"


@pytest.mark.parametrize("text", ["1-5:9", "7-9", "1-5:tag:3-4", "tag:1-2:4-5"])
def test_a_set_with_a_hole_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="hole"):
        gtid.parse(f"{UUID}:{text}")


def test_only_mysql_has_a_history_for_each_server() -> None:
    assert gtid.parse(f"{UUID}:1-5").by_server
    assert not gtid.parse("0-1-5").by_server
