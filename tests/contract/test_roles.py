"""Roles: specs and defaults agree, names are prefixed, secrets are hidden, commands are honest."""

from __future__ import annotations

import json
import re

import pytest

from dbops import engines
from tests.contract.grid import PLAYS, ROLES, ROOT, Task, defaults, load, options, specs, tasks

SECRET = re.compile(r"\b(?:__)?[a-z][a-z0-9_]*_password\b")
SECRET_NAME = re.compile(r"_(password|key)$")
COMMANDS = {"command", "shell", "raw", "script", "expect"}
SILENT = {"assert", "include_tasks", "include_role", "import_tasks", "import_role"}

each_role = pytest.mark.parametrize("role", ROLES)


@each_role
def test_every_default_is_in_a_spec_and_equal(role: str) -> None:
    documented = options(role)
    problems = []
    for name, value in defaults(role).items():
        if name not in documented:
            problems.append(f"{name} has a default and stands in no spec")
        elif "default" not in documented[name]:
            problems.append(f"{name}: the spec does not give its default {value!r}")
        elif documented[name]["default"] != value:
            problems.append(f"{name}: default {value!r}, spec says {documented[name]['default']!r}")
    problems += [
        f"{name}: the spec gives a default, defaults/main.yml does not"
        for name, option in documented.items()
        if "default" in option and name not in defaults(role)
    ]
    problems += [
        f"{name} has neither a default nor a word about whether it is required"
        for name, option in documented.items()
        if "default" not in option and "required" not in option
    ]
    assert not problems, "\n".join(problems)


@each_role
def test_an_entry_point_and_its_options_are_described(role: str) -> None:
    for entry, spec in specs(role).items():
        assert spec.get("short_description"), f"{role}: {entry} has no short_description"
        for name, option in spec["options"].items():
            assert option.get("description"), f"{role}: {entry}: {name} has no description"


@pytest.mark.parametrize("verb", PLAYS)
def test_variables_are_validated_first_and_once(verb: str) -> None:
    """The first task of every verb does what Ansible would do at each include."""
    assert load(ROOT / "roles/dbops/tasks/preflight.yml")[0].keys() == {"name", "dbops_variables"}
    begin = load(ROOT / "roles" / "dbops" / "tasks" / f"{verb}.yml")[0]
    assert begin["ansible.builtin.include_tasks"]["file"] == "preflight.yml"
    assert begin["when"] == "not __dbops_checked"
    play = load(ROOT / "playbooks" / f"{verb}.yml")[0]
    include = play["tasks"][0]["ansible.builtin.import_role"]
    assert include == {"name": "dbops", "tasks_from": verb, "rolespec_validate": False}


@each_role
def test_no_include_validates_again(role: str) -> None:
    wrong = [
        task.where
        for task in tasks(role)
        if task.module in {"include_role", "import_role"}
        and task.arguments.get("rolespec_validate") is not False
    ]
    assert not wrong, "need rolespec_validate: false:\n" + "\n".join(wrong)


@pytest.mark.parametrize("engine", engines.NAMES)
def test_an_engine_names_nothing_that_all_engines_have(engine: str) -> None:
    shared = {name.partition("_")[2] for name in options("dbops")}
    wrong = [name for name in options(engine) if name.partition("_")[2] in shared]
    assert not wrong, f"roles/dbops has them: {', '.join(wrong)}"


@each_role
def test_an_option_stands_once(role: str) -> None:
    listed = [name for spec in specs(role).values() for name in spec["options"]]
    assert len(listed) == len(set(listed))


@each_role
def test_names_are_prefixed(role: str) -> None:
    wrong = [n for n in {**defaults(role), **options(role)} if not n.startswith(f"{role}_")]
    internal = load(ROOT / "roles" / role / "vars" / "main.yml") or {}
    wrong += [name for name in internal if not name.startswith(f"__{role}_")]
    for task in tasks(role):
        registered = task.keywords.get("register")
        if registered and not str(registered).startswith(f"__{role}_"):
            wrong.append(f"{task.where} registers {registered}")
    assert not wrong, "\n".join(wrong)


@each_role
def test_secrets_have_no_default_and_no_log(role: str) -> None:
    wrong = [f"{name} has a default" for name in defaults(role) if SECRET_NAME.search(name)]
    for name, option in options(role).items():
        if SECRET_NAME.search(name):
            wrong += [f"{name}: the spec gives a default"] * ("default" in option)
            wrong += [f"{name}: the spec needs no_log: true"] * (option.get("no_log") is not True)
    assert not wrong, "\n".join(wrong)


@each_role
def test_tasks_that_touch_a_secret_hide_it(role: str) -> None:
    secrets = {name for name in options(role) if SECRET_NAME.search(name)}
    wrong = []
    for task in [*tasks(role), *tasks(role, "handlers")]:
        text = json.dumps({k: v for k, v in task.keywords.items() if k != "name"}, default=str)
        touched = set(SECRET.findall(text)) | {
            name for name in secrets if re.search(rf"\b{name}\b", text)
        }
        if touched and not task.hidden and task.module not in SILENT:
            wrong.append(f"{task.where}: needs no_log: true ({', '.join(sorted(touched))})")
    assert not wrong, "\n".join(wrong)


@each_role
def test_handlers_end_in_the_engine(role: str) -> None:
    known = {str(task.keywords.get("name")) for task in tasks(role, "handlers")}
    wrong = [name for name in known if not name.endswith(f" {role}")]
    for task in tasks(role):
        notified = task.keywords.get("notify") or []
        names = [notified] if isinstance(notified, str) else notified
        wrong += [f"{task.where} notifies {name!r}, unknown" for name in set(names) - known]
    assert not wrong, "\n".join(wrong)


@each_role
def test_commands_say_what_they_change(role: str) -> None:
    wrong = [
        task.where
        for task in [*tasks(role), *tasks(role, "handlers")]
        if task.module in COMMANDS and not _declares(task)
    ]
    assert not wrong, "need changed_when or creates:\n" + "\n".join(wrong)


def _declares(task: Task) -> bool:
    given = task.arguments if isinstance(task.arguments, dict) else {}
    given = {**given, **(task.keywords.get("args") or {})}
    return "changed_when" in task.keywords or "creates" in given or "removes" in given


@each_role
def test_what_a_play_backs_up_displaces_nothing(role: str) -> None:
    """Only the schedule's unit and a person ask for a full backup that retention counts."""
    wrong = []
    for task in tasks(role):
        given = task.arguments if isinstance(task.arguments, dict) else {}
        words = given.get("argv", ()) if task.module == "command" else ()
        if {"backup", "take", "full"} <= set(words) and "--automatic" not in words:
            wrong.append(task.where)
    assert not wrong, "give --automatic:\n" + "\n".join(wrong)


@each_role
def test_every_task_has_a_name_and_loops_name_their_variable(role: str) -> None:
    wrong = []
    for task in tasks(role):
        if not task.keywords.get("name"):
            wrong.append(f"{task.where}: no name for {task.module}")
        if "loop" in task.keywords and "loop_var" not in (task.keywords.get("loop_control") or {}):
            wrong.append(f"{task.where}: name the loop variable")
    assert not wrong, "\n".join(wrong)


@each_role
def test_ignored_failures_say_why(role: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sorted((ROOT / "roles" / role).rglob("*.yml"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"ignore_errors:\s*(true|yes)|failed_when:\s*false", line) and "#" not in line
    ]
    assert not wrong, "say why in a comment on the line:\n" + "\n".join(wrong)


@each_role
def test_no_shell_where_variables_go_in(role: str) -> None:
    wrong = [
        task.where
        for task in tasks(role)
        if task.module in {"shell", "raw"} and "{{" in json.dumps(task.arguments)
    ]
    assert not wrong, "use command with argv:\n" + "\n".join(wrong)
