"""The program behind ``make test``: what it notes of a scenario, and how it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dbops import engines
from lab import images
from tests import run
from tests.run import Part

_SAYS = """
import time
for line in ("scenario test matrix: destroy, create, verify", "[redis > destroy] Executing",
             "[redis > destroy] Executed: Successful", "[redis > create] Executing",
             "[redis > verify] Executing", "[redis > verify] Executing"):
    print("INFO    ", line, flush=True)
    time.sleep(0.05)
raise SystemExit({status})
"""


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep logs and the checkout's name in a folder of the test."""
    monkeypatch.setattr(run, "LOGS", tmp_path)
    monkeypatch.setattr(run, "CHECKOUT", tmp_path)


def _ran(status: int) -> Part:
    part = Part("redis on trixie", (sys.executable, "-c", _SAYS.format(status=status)))
    run.run(part)
    return part


def test_each_level_of_a_scenario_is_timed_and_its_words_are_kept() -> None:
    part = _ran(0)
    assert part.status == 0
    assert list(part.seconds) == ["destroy", "hosts", "look", "same", "all"]
    assert all(0.04 < part.seconds[level] < 2 for level in ("hosts", "look", "same"))
    assert "[redis > create] Executing" in part.log.read_text()


def test_a_part_that_fails_shows_its_end_and_fails_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = _ran(3)
    assert part.status == 3
    said = capsys.readouterr().out
    assert "FAILED with status 3" in said
    assert "[redis > verify] Executing" in said
    rows = run.table([part, Part("never", ())]).splitlines()
    assert rows[1].endswith(" FAILED")
    assert rows[2].endswith(" (not run)")


@pytest.mark.parametrize("engine", engines.NAMES)
def test_every_engine_has_another_release_to_be_tested_on(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert run.other_release(engine) in images.RELEASES
    names = [part.name for lane in run.deep(engine, "trixie") for part in lane]
    assert f"{engine} on trixie" in names
