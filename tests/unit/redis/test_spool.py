"""The log of one full backup, over several bases, by links that outlive the replica's files."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbops.engines.redis import aof, spool, stream
from dbops.engines.redis.spool import Spool
from dbops.errors import VerificationFailed
from tests.unit.redis.test_aof import FIRST, SECOND, STAMP


def replica(folder: Path, *increments: bytes) -> aof.Files:
    """Return a replica's files with these increments."""
    place = folder / aof.FOLDER
    place.mkdir(exist_ok=True)
    paths = []
    for number, content in enumerate(increments, 9):
        path = place / f"appendonly.aof.{number}.incr.aof"
        path.write_bytes(content)
        paths.append(path)
    return aof.Files(place, place / "base", 2, tuple(paths))


@pytest.fixture
def place(tmp_path: Path) -> Spool:
    """A spool that was begun."""
    found = Spool(tmp_path / "stage" / "20260102-120000F")
    found.begin("2-5-100", None)
    return found


def test_links_outlive_the_files(place: Spool, tmp_path: Path) -> None:
    found = replica(tmp_path, STAMP + FIRST, SECOND)
    place.link(found)
    for path in found.increments:
        path.unlink()
    parts = place.measure()
    assert spool.size(parts) == len(STAMP + FIRST + SECOND)
    assert spool.newest(parts) == datetime.fromtimestamp(1767323045, UTC)
    said = subprocess.run(spool.producer(parts, None).argv, capture_output=True, check=True)
    assert said.stdout == STAMP + FIRST + SECOND


def test_what_is_not_complete_is_left_for_the_next_time(place: Spool, tmp_path: Path) -> None:
    found = replica(tmp_path, STAMP + FIRST + SECOND[:5])
    place.link(found)
    assert spool.size(place.measure()) == len(STAMP + FIRST)
    with found.increments[0].open("ab") as file:
        file.write(SECOND[5:])
    assert spool.size(place.measure()) == len(STAMP + FIRST + SECOND)


def test_a_closed_increment_must_be_whole(place: Spool, tmp_path: Path) -> None:
    place.link(replica(tmp_path, STAMP + FIRST[:-1], SECOND))
    with pytest.raises(VerificationFailed, match="ends within a command"):
        place.measure()


def test_bases_that_go_on(place: Spool) -> None:
    place.goes_on("3-9-100")
    assert place.bases() == ["2-5-100", "3-9-100"]
    assert not Spool(place.folder / "nowhere").exists()
    place.remove()
    assert not place.exists()


def test_a_file_that_is_shorter_than_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10)
    argv = [sys.executable, "-I", stream.__file__, str(path), "11"]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"ends 1 bytes early" in done.stderr


@pytest.mark.parametrize(("said", "status"), [("3000", 0), ("", 1), ("3001", 1), ("2999", 1)])
def test_a_file_that_grows(tmp_path: Path, said: str, status: int) -> None:
    path, marker = tmp_path / "base", tmp_path / "complete"
    path.write_bytes(b"a" * 1000)
    argv = [
        sys.executable, "-I", stream.__file__,
        "--growing", str(path), str(marker), str(tmp_path / "verdict"), "/bin/cat",
    ]  # fmt: skip

    def write() -> None:
        for letter in (b"b", b"c"):
            time.sleep(0.15)
            with path.open("ab") as file:
                file.write(letter * 1000)
        (tmp_path / "new").write_text(said)
        (tmp_path / "new").rename(marker)

    writing = threading.Thread(target=write)
    writing.start()
    done = subprocess.run(argv, capture_output=True, check=False, timeout=30)
    writing.join()
    assert done.returncode == status, done.stderr
    if status == 0:
        assert done.stdout == b"a" * 1000 + b"b" * 1000 + b"c" * 1000
