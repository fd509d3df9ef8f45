"""The head of RDB files: who wrote them, in which format."""

from __future__ import annotations

import pytest

from dbops.engines.redis import rdb
from dbops.errors import VerificationFailed

REDIS = bytes.fromhex(
    "52454449533030313 0fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c040"
    "fa056374696d65c23e56076bfa08757365642d6d656dc220190f00fa08616f662d62617365c001fe00".replace(
        " ", ""
    )
)


def aux(name: bytes, value: bytes) -> bytes:
    """Return one auxiliary field."""
    return b"\xfa" + bytes([len(name)]) + name + bytes([len(value)]) + value


def test_a_file_of_redis() -> None:
    found = rdb.head(REDIS)
    assert (found.format, found.writer, found.made_at) == (
        "REDIS0010",
        "Redis 7.0.15",
        0x6B07563E,
    )
    assert found.version == "7.0.15"


def test_a_file_of_valkey() -> None:
    found = rdb.head(b"VALKEY080" + aux(b"valkey-ver", b"9.0.1"))
    assert (found.format, found.writer) == ("VALKEY080", "Valkey 9.0.1")


def test_a_file_of_valkey_in_the_old_format() -> None:
    head = b"REDIS0011" + aux(b"valkey-ver", b"8.1.1") + aux(b"redis-bits", b"64")
    assert rdb.head(head).writer == "Valkey 8.1.1"


def test_a_position_in_the_stream() -> None:
    head = b"REDIS0011" + aux(b"redis-ver", b"8.0.2") + aux(b"repl-id", b"ab" * 20)
    assert rdb.head(head + aux(b"repl-offset", b"17")).position == "ab" * 20 + ":17"


def test_a_head_that_is_cut_short() -> None:
    for size in range(9, len(REDIS)):
        assert rdb.head(REDIS[:size]).format == "REDIS0010"


@pytest.mark.parametrize("data", [b"", b"REDIS", b"*1\r\n$4\r\nPING\r\n", b"\x00" * 40])
def test_what_is_no_such_file(data: bytes) -> None:
    with pytest.raises(VerificationFailed, match="no RDB file"):
        rdb.head(data)
