"""Append-only files: their manifest, and how far a log is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.engines.redis import aof
from dbops.engines.redis.aof import Extent
from dbops.errors import CommandFailed, VerificationFailed


def command(*words: str) -> bytes:
    """Return a command as a server logs it."""
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words]
    return b"".join(parts)


SELECT, FIRST, SECOND = command("SELECT", "0"), command("SET", "a", "1"), command("SET", "b", "ä")
STAMP, LATER = b"#TS:1767323045\r\n", b"#TS:1767323046\r\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A path for a log."""
    return tmp_path / "log.aof"


def test_a_whole_log(log: Path) -> None:
    data = STAMP + SELECT + FIRST + LATER + SECOND
    log.write_bytes(data)
    assert aof.measure(log) == Extent(len(data), 3, 1767323046)


@pytest.mark.parametrize("missing", range(1, len(SECOND)))
def test_a_command_that_is_not_complete_does_not_count(log: Path, missing: int) -> None:
    log.write_bytes((STAMP + FIRST + SECOND)[:-missing])
    assert aof.measure(log) == Extent(len(STAMP + FIRST), 1, 1767323045)


def test_a_transaction_counts_only_whole(log: Path) -> None:
    begun = command("MULTI") + FIRST + LATER + SECOND
    log.write_bytes(STAMP + FIRST + begun)
    assert aof.measure(log).end == len(STAMP + FIRST)
    assert aof.measure(log).stamp == 1767323045
    log.write_bytes(STAMP + FIRST + begun + command("exec"))
    assert aof.measure(log).end == log.stat().st_size
    assert aof.measure(log).stamp == 1767323046


def test_a_value_that_looks_like_log(log: Path) -> None:
    data = STAMP + command("SET", "a", "x\r\n#TS:1999999999\r\n*1\r\n$5\r\nMULTI\r\n")
    log.write_bytes(data)
    assert aof.measure(log) == Extent(len(data), 1, 1767323045)


def test_only_what_came_since_is_looked_at(log: Path) -> None:
    log.write_bytes(b"\xff" * len(FIRST) + SECOND)
    known = Extent(len(FIRST), 1, 5)
    assert aof.measure(log, known) == Extent(len(FIRST + SECOND), 2, 5)
    assert aof.measure(log, aof.measure(log, known)) == aof.measure(log, known)


def test_an_empty_log(log: Path) -> None:
    log.touch()
    assert aof.measure(log) == Extent(0, 0, None)


@pytest.mark.parametrize(
    "data",
    [
        FIRST + b"\x00" + SECOND,
        FIRST.replace(b"*3", b"*2"),
        FIRST.replace(b"$1\r\na", b"$1\r\naa"),
        FIRST.replace(b"$3", b"$9") + SECOND,
        FIRST[:-2] + b"xx" + SECOND,
        b"*" + b"9" * 40 + b"\r\n",
        b"*-1\r\n",
        b"*x\r\n",
    ],
)
def test_damage_is_named(log: Path, data: bytes) -> None:
    log.write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"log\.aof is damaged"):
        aof.measure(log)


def test_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / aof.FOLDER
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.2.base.rdb seq 2 type b\n"
        "file appendonly.aof.10.incr.aof seq 10 type i\n"
        "file appendonly.aof.9.incr.aof seq 9 type i\n"
        "file appendonly.aof.1.base.rdb seq 1 type h\n"
    )
    found = aof.read(tmp_path)
    assert (found.base.name, found.base_number) == ("appendonly.aof.2.base.rdb", 2)
    assert [path.name for path in found.increments] == [
        "appendonly.aof.9.incr.aof",
        "appendonly.aof.10.incr.aof",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file a seq 1 type i\n", "names no base"),
        ("nonsense\n", "not understood"),
        ("file ../x seq 1 type b\n", "outside"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    folder = tmp_path / aof.FOLDER
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text(text)
    with pytest.raises(CommandFailed, match=words):
        aof.read(tmp_path)
    with pytest.raises(CommandFailed, match="cannot be read"):
        aof.read(tmp_path / "nowhere")
