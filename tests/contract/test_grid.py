"""The grid: each verb has its playbook and what all engines share, and each engine what it adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops import engines
from dbops.commands.docs import support_table
from dbops.contract import VERBS, Verb
from tests.contract.grid import PLAYS, ROOT, load, specs, tasks

GRID = [(name, verb) for name in engines.NAMES for verb in VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_its_playbook(verb: Verb) -> None:
    assert verb in PLAYS, f"write playbooks/{verb}.yml"


@pytest.mark.parametrize("play", PLAYS)
def test_a_playbook_has_its_shared_tasks(play: str) -> None:
    task_file = ROOT / "roles" / "dbops" / "tasks" / f"{play}.yml"
    assert task_file.is_file(), f"write {task_file.relative_to(ROOT)}"


@pytest.mark.parametrize(("name", "verb"), GRID)
def test_a_supported_verb_has_its_files(name: str, verb: Verb) -> None:
    task_file = ROOT / "roles" / name / "tasks" / f"{verb}.yml"
    if not engines.get(name).supports(verb) or not asks_the_engine(verb):
        assert not task_file.exists(), f"{task_file} exists, but nothing of {name} is asked there"
        return
    assert task_file.is_file(), f"{name} supports {verb}: write {task_file.relative_to(ROOT)}"


def asks_the_engine(verb: Verb) -> bool:
    """Return whether what all engines share of a verb includes the engine's own part of it."""
    return any(
        task.module == "include_role" and task.arguments["tasks_from"] == verb
        for task in tasks("dbops")
        if task.file.stem == verb
    )


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_has_no_entry_points_but_the_playbooks(name: str) -> None:
    assert set(specs(name)) <= set(PLAYS)


@pytest.mark.parametrize("name", engines.NAMES)
def test_names_are_one_word_everywhere(name: str) -> None:
    engine = engines.get(name)
    assert engine.name == name
    assert (ROOT / "dbops" / "engines" / name / "__init__.py").is_file()
    assert (ROOT / "roles" / name / "README.md").is_file(), f"write roles/{name}/README.md"


@pytest.mark.parametrize("name", engines.NAMES)
def test_what_takes_a_backup_can_say_what_it_has(name: str) -> None:
    engine = engines.get(name)
    if engine.take_backup is not None:
        for function in ("catalogue", "verify", "plan_expire", "fingerprint"):
            assert getattr(engine, function) is not None, f"{name} takes backups: add {function}"
    if engine.plan_restore is not None:
        assert engine.plan_discard is not None, f"{name} restores: add plan_discard"


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda p: p.stem)
def test_playbooks_are_short_and_carry_their_manual(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("---\n# "), f"{path.name}: its header says what it does"
    assert "ansible-playbook" in text.split("\n- ")[0], f"{path.name}: show one line to paste"
    assert len(text.splitlines()) <= 40, f"{path.name}: at most 40 lines"
    assert isinstance(load(path), list)


def test_the_readme_shows_the_support_table() -> None:
    readme = ROOT / "README.md"
    assert readme.is_file(), "write README.md"
    assert support_table() in readme.read_text(encoding="utf-8"), (
        "the support table in README.md is stale: paste the output of 'dbops docs engines'"
    )
