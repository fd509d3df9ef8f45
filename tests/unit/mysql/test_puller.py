"""What a member says of its log is believed only as far as it can be true."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbops.engines.mysql import archive, binlog, client, puller
from dbops.errors import VerificationFailed
from tests.unit.mysql.made import log, transaction


def run(count: int) -> list[bytes]:
    return [transaction(number) for number in range(1, count)]


@pytest.mark.parametrize(
    "name", ["../../m1/s/binlog.000001", "/etc/x.000001", "--result-file=x.000001", "binlog", ""]
)
def test_a_name_that_is_none_of_a_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(client, "rows", lambda *asked: [(name, 256)])
    connection: Any = SimpleNamespace()
    with pytest.raises(VerificationFailed, match="calls its binary log"):
        puller.first_wanted(connection, tmp_path)


def test_a_run_that_wrote_what_is_no_log_begins_anew(tmp_path: Path) -> None:
    path = log(tmp_path / "binlog.000001", "", *run(9))
    looked: dict[Path, int] = {}
    assert puller._trouble(tmp_path, 0, 0, looked) is None
    assert looked[path] == path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\0" * 40)
    assert "is damaged at byte" in str(puller._trouble(tmp_path, 0, 0, looked))
    path.unlink()
    (tmp_path / "strange").write_bytes(b"\xfebin")
    assert "'strange'" in str(puller._trouble(tmp_path, 0, 0, {}))


def test_a_file_that_grows_is_looked_at_once(tmp_path: Path) -> None:
    path = log(tmp_path / "binlog.000001", "", *run(9))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    place = binlog.sound(path)
    assert 4 < place < len(whole) - 30
    path.write_bytes(b"\xfebin" + b"\xff" * (place - 4) + whole[place:])
    assert binlog.sound(path, place) == len(whole)


def test_one_member_s_damaged_log_is_no_reason_to_do_without_the_others(tmp_path: Path) -> None:
    whole = log(tmp_path / "m1/1/binlog.000001", "", *run(9))
    torn = log(tmp_path / "m2/1/binlog.000001", "", *run(9))
    torn.write_bytes(torn.read_bytes()[:200] + torn.read_bytes()[300:])
    damaged: dict[str, str] = {}
    found = archive.survey(tmp_path, damaged=damaged)
    assert [file.summary.path for file in found] == [whole]
    assert list(damaged) == ["m2"]
    assert "damaged at byte" in damaged["m2"]


def test_a_link_in_the_archive_is_no_file_of_it(tmp_path: Path) -> None:
    other = log(tmp_path / "elsewhere.000001", "", *run(3))
    (tmp_path / "archive" / "m1" / "1").mkdir(parents=True)
    (tmp_path / "archive" / "m1" / "1" / "binlog.000001").symlink_to(other)
    assert archive.survey(tmp_path / "archive") == []
