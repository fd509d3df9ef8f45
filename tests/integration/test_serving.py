"""Which server works in a folder, asked of real processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops.accounts import acting_as
from dbops.errors import Refused
from dbops.restore import serving


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[int]:
    """A process that stands in a folder."""
    with subprocess.Popen(["/bin/sleep", "60"], cwd=tmp_path) as process:
        yield process.pid
        process.kill()


def test_a_server_stands_in_its_data_directory(tmp_path: Path, sleeper: int) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        assert serving.working_in(folder, ("redis", "sleep")) == [sleeper]


def test_other_programs_and_folders_do_not_count(tmp_path: Path, sleeper: int) -> None:
    assert serving.working_in(tmp_path, ("mysqld",)) == []
    (tmp_path / "in").mkdir()
    assert serving.working_in(tmp_path / "in", ("sleep",)) == []
    assert serving.working_in(tmp_path / "absent", ("sleep",)) == []


def test_an_account_that_sees_no_others_may_not_say_that_nobody_is_there() -> None:
    with acting_as("nobody"):
        with pytest.raises(Refused, match="run dbops as root"):
            serving.working_in(Path("/"), ("a-server",))
        assert serving.working_in(Path("/"), ("a-server",), own=True) == []
