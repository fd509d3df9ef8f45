"""Damage to files is found before a server is trusted with them."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbops.engines.redis import aof, private_server, rdb, refill
from dbops.engines.redis.client import Ask
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import ConfigError, VerificationFailed
from dbops.runner import capture
from tests.integration.redis.conftest import Launch

SOME: tuple[Ask, ...] = tuple(("SET", f"key{n}", "value" * 50) for n in range(500))


@pytest.fixture
def data(launch: Launch) -> Path:
    """A data directory with a base and a log, of a server that was stopped."""
    server = launch()
    server.run(*SOME, ("BGREWRITEAOF",))
    while server.info("persistence")["aof_rewrite_in_progress"] != "0":
        time.sleep(0.05)
    time.sleep(1.1)
    server.run(*[("SET", f"more{n}", n) for n in range(500)])
    server.stop()
    return server.data


def load(data: Path, options: Options) -> int:
    """Load a data directory and return the number of keys."""
    place = Place(data=data, run=data.parent, user=None, options=options)
    with private_server.start(place, 30) as server, server.connect() as connection:
        return int(connection.ask("DBSIZE"))


def test_sound_files(data: Path, options: Options) -> None:
    assert "valid" in refill.check(options, data, capture)
    assert load(data, options) == 1000


def test_a_flipped_byte_in_the_base(data: Path, options: Options) -> None:
    base = aof.read(data).base
    content = bytearray(base.read_bytes())
    content[len(content) // 2] ^= 0xFF
    base.write_bytes(content)
    with pytest.raises(VerificationFailed, match="check-aof says"):
        refill.check(options, data, capture)
    with pytest.raises(VerificationFailed, match="cannot be loaded"):
        load(data, options)


@pytest.mark.parametrize("which", ["base", "log"])
def test_a_file_cut_short(data: Path, options: Options, which: str) -> None:
    files = aof.read(data)
    path = files.base if which == "base" else files.increments[-1]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    with pytest.raises(VerificationFailed, match="check-aof says"):
        refill.check(options, data, capture)
    with pytest.raises(VerificationFailed, match="cannot be loaded"):
        load(data, options)


def test_a_command_of_the_log_that_the_server_refuses(data: Path, options: Options) -> None:
    with aof.read(data).increments[-1].open("ab") as log:
        log.write(b"*3\r\n$5\r\nLPUSH\r\n$7\r\nmore250\r\n$1\r\nx\r\n")
    assert "valid" in refill.check(options, data, capture)
    with pytest.raises(VerificationFailed, match="1 commands of the log were not carried out"):
        load(data, options)


def test_a_length_that_was_flipped_in_the_log(data: Path, options: Options) -> None:
    path = aof.read(data).increments[-1]
    path.write_bytes(path.read_bytes().replace(b"$7\r\nmore250", b"$6\r\nmore250"))
    with pytest.raises(VerificationFailed, match="damaged"):
        aof.measure(path)
    with pytest.raises(VerificationFailed, match="check-aof says"):
        refill.check(options, data, capture)


def test_a_base_of_another_backup(data: Path, options: Options, tmp_path: Path) -> None:
    files = aof.read(data)
    entry: Any = type("Entry", (), {})()
    point = f"{rdb.read_head(files.base).format}/{files.base_id()}+0"
    entry.backup_id, entry.manifest = "X", type("M", (), {"start_point": point})()
    refill.same_base(data, entry)
    entry.manifest.start_point = point.replace("/2-", "/2-1")
    with pytest.raises(VerificationFailed, match="not the one"):
        refill.same_base(data, entry)


def test_a_snapshot_is_hidden_by_append_only_files_and_not_by_ours(
    data: Path, options: Options, launch: Launch, folder: Path
) -> None:
    """What this kit must never do: put dump.rdb where append-only files are on."""
    place = folder / "trap"
    place.mkdir()
    shutil.copy(aof.read(data).base, place / "dump.rdb")
    assert load(place, options) == 0
    good = folder / "good"
    good.mkdir()
    base, _ = aof.lay_out(good / aof.FOLDER, with_increment=False)
    shutil.copy(aof.read(data).base, base)
    assert load(good, options) == 500


def test_a_newer_format_is_refused_by_name(options: Options) -> None:
    rdb.refuse_unreadable(options, "X", "REDIS0009", "Redis 6.2")
    for format_, writer in (("REDIS0099", "Redis 99.1"), ("VALKEY999", "Valkey 99.1")):
        with pytest.raises(ConfigError, match=f"written by {writer}.*{format_}.* cannot read"):
            rdb.refuse_unreadable(options, "X", format_, writer)


def test_a_log_is_cut_after_the_second(data: Path, options: Options) -> None:
    path = aof.read(data).increments[-1]
    last = aof.measure(path).stamp
    assert last is not None
    later = b"#TS:%d\r\n*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$1\r\n1\r\n" % (last + 5)
    with path.open("ab") as file:
        file.write(later)
    size = path.stat().st_size
    refill.cut(options, data, datetime.fromtimestamp(last + 5, UTC), capture)
    assert path.stat().st_size == size
    refill.cut(options, data, datetime.fromtimestamp(last + 4.9, UTC), capture)
    assert path.stat().st_size == size - len(later)
    assert load(data, options) == 1000
