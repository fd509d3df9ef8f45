"""Every role's target template renders a file that dbops and the engine's own model accept."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from dbops import engines, targets
from dbops.options import EngineOptions
from tests.contract.grid import ROOT, defaults, load

PARTS = ("member", "repository", "drill")
PAGE = ROOT / "docs" / "reference" / "target-file.md"


def variables(name: str, part: str) -> dict[str, Any]:
    """Return a small inventory's variables for one host of that part."""
    members = ["db1", "db2"]
    host = {"member": "db1", "repository": "backup1", "drill": "drill1"}[part]
    found = {
        **defaults("dbops"),
        **(load(ROOT / "roles" / "dbops" / "vars" / "main.yml") or {}),
        **defaults(name),
        **(load(ROOT / "roles" / name / "vars" / "main.yml") or {}),
        "dbops_engine": name,
        "dbops_cluster": "flights",
        "dbops_members": members,
        "dbops_part": part,
        "dbops_repository_host": "backup1",
        "inventory_hostname": host,
        "ansible_facts": {"distribution_major_version": "12", "memtotal_mb": 4096},
        "groups": {"all": [*members, "backup1", "drill1"]},
        "hostvars": {
            one: {"ansible_host": f"10.0.0.{number}"}
            for number, one in enumerate([*members, "backup1", "drill1"], 1)
        },
    }
    trusted: dict[str, Any] = _trust(found)
    return trusted


def _trust(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trust(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_trust(inner) for inner in value]
    return value


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", engines.NAMES)
def test_rendered_target_loads(name: str, part: str, tmp_path: Path) -> None:
    template = ROOT / "roles" / name / "templates" / "target.json.j2"
    assert template.is_file(), f"write {template.relative_to(ROOT)}"
    templar = Templar(loader=DataLoader(), variables=variables(name, part))
    text = template.read_text(encoding="utf-8")
    rendered = templar.template(trust_as_template(text))
    path = tmp_path / "flights.json"
    path.write_text(rendered if isinstance(rendered, str) else json.dumps(rendered))
    path.chmod(0o640)
    target = targets.load("flights", tmp_path)
    assert (target.engine, target.part) == (name, part)
    model = import_module(f"dbops.engines.{name}.options")
    model.read(target)


def model(name: str) -> type[EngineOptions]:
    """Return an engine's model of its options."""
    found: type[EngineOptions] = import_module(f"dbops.engines.{name}.options").Options
    return found


def test_what_every_engine_has_is_declared_once() -> None:
    """An engine says again only what has another default there."""
    own = {
        name: model(name).model_fields.keys() & model(name).__annotations__
        for name in engines.NAMES
    }
    base = EngineOptions.model_fields
    again = set.intersection(*own.values()) - base.keys()
    assert not again, "declare them in dbops/options.py"
    for name, fields in own.items():
        for field in fields & base.keys():
            here = model(name).model_fields[field]
            assert here.default != base[field].default, f"{name}: {field} says what all say"


@pytest.mark.parametrize("name", engines.NAMES)
def test_each_option_is_on_the_page(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Options of ")
    (own,) = [part for part in text if part.lower().startswith(name)]
    words = set(re.findall(r"`(\w+)`", text[1] + own))
    assert not model(name).model_fields.keys() - words
