"""The controller's own plugins, with real Ansible on this machine alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.grid import options

SECRET = re.compile(r"_(password|key)$")
CHECKOUT = Path(__file__).parents[2]
SPY = """
import os
with open(os.environ["SPY"], "a") as file:
    print(os.getpid(), file=file)
class FilterModule:
    def filters(self):
        return {"spied": str.upper}
"""
TEMPLATE = """# {{ word }} {{ more | default('none') }}
{% for one in [1, 2] %}
line {{ one }} of {{ inner.text }}
{% endfor %}
{% include 'part.j2' %}
"""
VERSIONS = {"postgresql": "15", "mysql": "10.11", "redis": "7.0"}


def whole(engine: str) -> dict[str, Any]:
    """Return all that an inventory must give for an engine."""
    all_of = options(engine) | options("dbops")
    required = {name for name, option in all_of.items() if option.get("required")}
    secrets = dict.fromkeys((name for name in required if SECRET.search(name)), "x" * 32)
    return secrets | {
        "dbops_engine": engine,
        "dbops_cluster": "main",
        "dbops_members": ["a"],
        "dbops_repository_host": "b",
        "dbops_secrets_dir": "/nowhere",
        "dbops_python_version": "3.11",
        f"{engine}_version": VERSIONS[engine],
    }


def run(folder: Path, tasks: list[dict[str, Any]], **more: Any) -> tuple[int, str]:
    """Run ``tasks`` on the hosts a and b; return the exit status and what was printed."""
    environment = more.pop("environment", {})
    hosts: dict[str, Any] = {"a": {}, "b": {"dbops_part": "repository"}}
    inventory = {"all": {"hosts": hosts, "vars": {"ansible_connection": "local", **more}}}
    (folder / "hosts.yml").write_text(json.dumps(inventory))
    play = {"name": "Try", "hosts": "all", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.yml"),
         str(folder / "play.yml")],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), **environment},
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_filters_are_loaded_by_the_first_process_alone(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "spy.py").write_text(SPY)
    both = f"{CHECKOUT / 'plugins' / 'filter'}:{tmp_path / 'filters'}"
    environment = {"ANSIBLE_FILTER_PLUGINS": both, "SPY": str(tmp_path / "loads")}
    task = {"name": "Say", "ansible.builtin.debug": {"msg": "{{ 'heard' | spied }}"}}
    status, said = run(tmp_path, [task, task], environment=environment)
    assert status == 0, said
    assert said.count("HEARD") == 4
    assert len((tmp_path / "loads").read_text().split()) == 1


def test_a_library_that_is_missing_stops_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.py").write_text("import no_such_library")
    environment = {"ANSIBLE_FILTER_PLUGINS": str(tmp_path / "broken")}
    task = {"name": "Say", "ansible.builtin.debug": {"msg": "{{ 'HEARD' | lower }}"}}
    status, said = run(tmp_path, [task], environment=environment)
    assert status == 0, said
    assert said.count("heard") == 2
    assert "Traceback" not in said


def test_a_template_is_rendered_as_by_ansible(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.j2").write_text(TEMPLATE)
    (tmp_path / "templates" / "part.j2").write_text(
        "{{ inventory_hostname }} {{ template_path }}\n"
    )
    rest = "'page.j2', template_vars={'more': 'and more'})"
    that = f"lookup('dbops_template', {rest} == lookup('ansible.builtin.template', {rest}"
    tasks = [
        {"name": "Compare", "ansible.builtin.assert": {"that": [that]}},
        {
            "name": "Show",
            "ansible.builtin.debug": {"msg": f"{{{{ lookup('dbops_template', {rest} }}}}"},
        },
    ]
    status, said = run(tmp_path, tasks, word="{{ 'a' ~ 'b' }}", inner={"text": "{{ word }}"})
    assert status == 0, said
    assert "# ab and more" in said
    assert "line 2 of ab" in said


def preflight(folder: Path, **variables: Any) -> tuple[int, str]:
    include = {"name": "dbops", "tasks_from": "preflight"}
    return run(folder, [{"name": "Check", "ansible.builtin.include_role": include}], **variables)


@pytest.mark.parametrize("engine", VERSIONS)
def test_a_whole_inventory_is_let_through(engine: str, tmp_path: Path) -> None:
    status, said = preflight(tmp_path, **whole(engine))
    assert status == 0, said


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"postgresql_prot": 1}, "postgresql_prot (did you mean postgresql_port?)"),
        ({"dbops_members": None}, "Not in the inventory, and required: dbops_members."),
        ({"dbops_part": "chief"}, "value of dbops_part must be one of: member"),
        ({"postgresql_port": "many"}, "'postgresql_port' is of type str"),
        ({"dbops_tls_days": "soon"}, "'dbops_tls_days' is of type str"),
        ({"dbops_clutser": "main"}, "dbops_clutser (did you mean dbops_cluster?)"),
        ({"postgresql_cluster": "main"}, "postgresql_cluster (its name is dbops_cluster)"),
        ({"common_tls_days": 90}, "common_tls_days (its name is dbops_tls_days)"),
        ({"dbops_engine": "oracle"}, "it must be one of mysql, postgresql, redis."),
        ({"dbops_engine": None}, "dbops_engine is '': it must be one of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_variables_are_refused_by_name(
    tmp_path: Path, variables: dict[str, Any], sentence: str
) -> None:
    given = {
        name: value
        for name, value in (whole("postgresql") | variables).items()
        if value is not None
    }
    status, said = preflight(tmp_path, **given)
    assert status != 0
    assert sentence in said
    assert "Nothing was changed." in said
    assert "x" * 32 not in said
