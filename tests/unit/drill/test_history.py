"""The drills' results on disk: whole or not at all, and a torn one spoils nothing."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbops.contract import DrillResult, DrillStep, DrillTable
from dbops.drill import history
from dbops.errors import ConfigError
from dbops.manifest import Difference
from dbops.targets import Objectives, Target

pytestmark = pytest.mark.unit

BEGAN = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def make_target(state_dir: Path) -> Target:
    return Target(
        schema_version=1,
        engine="postgresql",
        cluster="flights",
        part="drill",
        member="drill1",
        version="15",
        members=("pg1", "pg2"),
        objectives=Objectives(rpo_seconds=60, rto_seconds=600),
        state_dir=state_dir,
        options={},
    )


def make_result(began: datetime = BEGAN, proven: bool = True) -> DrillResult:
    return DrillResult(
        engine="postgresql",
        cluster="flights",
        backup_id="20260301-010000F",
        started_at=began,
        finished_at=began + timedelta(minutes=3),
        proven=proven,
        reason="" if proven else "The recovery point was not measured.",
        rpo_seconds=12.5 if proven else None,
        rto_seconds=42.0,
        rpo_objective_seconds=60,
        rto_objective_seconds=600,
        bytes_restored=123456,
        steps=(DrillStep("isolation", True, 0.1, "alone"),),
        tables=(DrillTable("air", "public.flights", 10, 10, True),),
        differences=(Difference(database="air", table="x", what="rows", expected="1", found="2"),),
    )


def test_a_saved_result_is_read_back_equal(tmp_path: Path) -> None:
    target, result = make_target(tmp_path), make_result()

    path = history.save(target, result)

    assert history.read(path) == result
    assert path.name == "20260301T020000Z.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert json.loads(path.read_text())["schema_version"] == 1


def test_results_come_oldest_first_and_nothing_temporary_stays(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    late, early = make_result(BEGAN + timedelta(days=1)), make_result()
    for result in (late, early):
        history.save(target, result)

    assert history.load(target) == [early, late]
    assert len(list(history.directory(target).iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "torn"),
        ('{"schema_version": 1, "engine": "po', "torn"),
        ("[" * 100_000, "torn"),
        ("[]", "schema"),
        ('{"schema_version": 2}', "schema"),
        ('{"schema_version": 1}', "not whole"),
    ],
)
def test_a_torn_file_is_named_and_left_out(tmp_path: Path, text: str, word: str) -> None:
    target = make_target(tmp_path)
    history.save(target, make_result())
    torn = history.directory(target) / "20260401T000000Z.json"
    torn.write_text(text)
    said: list[str] = []

    assert history.load(target, said.append) == [make_result()]
    assert len(said) == 1
    assert str(torn) in said[0]
    assert word in said[0]
    assert history.newest(target) == make_result()


def test_bytes_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    history.directory(target).mkdir()
    (history.directory(target) / "a.json").write_bytes(b"\xff\xfe\x00")

    assert history.load(target) == []
    assert history.newest(target) is None


def test_no_drill_yet(tmp_path: Path) -> None:
    assert history.load(make_target(tmp_path)) == []
    assert history.newest(make_target(tmp_path)) is None


def test_the_newest_proven_one_is_found_behind_failed_ones(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    failed = make_result(BEGAN + timedelta(days=1), proven=False)
    for result in (make_result(), failed):
        history.save(target, result)

    assert history.newest(target) == failed
    assert history.newest(target, proven=True) == make_result()


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = make_target(tmp_path / "file")

    with pytest.raises(ConfigError, match="cannot be made or opened: Not a directory"):
        history.save(target, make_result())


def test_a_result_written_by_a_later_version_with_more_fields_is_read(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    path = history.save(target, make_result())
    record = json.loads(path.read_text()) | {"weather": "fine"}
    path.write_text(json.dumps(record))

    assert history.read(path) == make_result()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make_target(tmp_path)
    path = history.save(target, make_result())

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ConfigError, match="No space left"):
        history.save(target, replace(make_result(), reason="other"))
    assert history.read(path) == make_result()
    assert list(path.parent.iterdir()) == [path]
