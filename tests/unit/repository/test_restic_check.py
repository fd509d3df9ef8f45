"""Which of restic's complaints stand: damage does, what a run beside it made look so does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.repository import restic_check
from dbops.repository.restic import Repository
from dbops.runner import Completed

REPO = Repository("/none", Path("/none"))
PACK = "a" * 64
FINE = Completed(0, "load indexes\nno errors were found\n", "")
NEW_TREE = "error for tree 4670cf01:\n  tree 4670cf01 not found in repository\n"
OTHER_TREE = "error for tree 99999999:\n  tree 99999999 not found in repository\n"
DAMAGED = f"Pack ID does not match, want {PACK}, got {'b' * 64}\n"


def failed(*said: str) -> Completed:
    return Completed(1, "check all packs\n[0:00] 100.00%  5 / 5 packs\n", "".join(said))


def complaints(monkeypatch: pytest.MonkeyPatch, first: Completed, *later: Completed) -> list[str]:
    looks = iter(later)
    monkeypatch.setattr(restic_check, "_check", lambda *_: next(looks))
    return restic_check._complaints(REPO, first, lambda text: None)


def test_what_a_second_look_does_not_find_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(monkeypatch, failed(NEW_TREE), FINE) == []
    assert complaints(monkeypatch, failed(NEW_TREE), failed(OTHER_TREE), FINE) == []


def test_what_two_looks_find_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    found = complaints(monkeypatch, failed(NEW_TREE), failed(NEW_TREE, OTHER_TREE))
    assert any("4670cf01" in line for line in found)
    assert not any("99999999" in line for line in found)


def test_a_damaged_pack_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = complaints(monkeypatch, failed(DAMAGED, f"pack {PACK} contains 2 errors\n"))
    assert line.startswith(f"pack {PACK} is damaged: ")
    (line,) = complaints(monkeypatch, failed(DAMAGED, NEW_TREE), FINE)
    assert line.startswith(f"pack {PACK} is damaged: ")


def test_a_pack_of_a_killed_run_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = f"pack {'c' * 64}: not referenced in any index\n"
    (line,) = complaints(monkeypatch, failed(lost, DAMAGED))
    assert PACK in line


def test_a_failure_without_a_word_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(monkeypatch, failed(), failed(), failed(), failed()) == [
        "restic check failed and did not say why"
    ]


def test_good_words_with_a_bad_status_or_the_reverse_are_not_sound() -> None:
    assert restic_check._sound(FINE)
    assert not restic_check._sound(Completed(1, FINE.stdout, ""))
    assert not restic_check._sound(Completed(0, "load indexes\n", ""))
