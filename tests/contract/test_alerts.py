"""Alert rules: they name metrics and labels that exist, and say where to read on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.grid import ROOT, load

RULES = ROOT / "docs" / "reference" / "alerts.yml"
METRICS = ROOT / "docs" / "reference" / "metrics.md"
EVERYWHERE = {"cluster", "engine", "instance", "instance_name", "job"}
SEVERITIES = {"page", "ticket"}


def rules() -> Iterator[dict[str, Any]]:
    """Yield every alert rule."""
    for group in load(RULES)["groups"]:
        yield from group["rules"]


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric, as the reference says."""
    rows = re.findall(
        r"^\| `(dbops_[a-z0-9_]+)` \| ([^|]*) \|", METRICS.read_text(encoding="utf-8"), re.M
    )
    return {name: set(re.findall(r"`([a-z_]+)`", labels)) for name, labels in rows}


each_rule = pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])


@each_rule
def test_metrics_exist(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\bdbops_[a-z0-9_]+", rule["expr"]))
    assert used or "up{" in rule["expr"]
    unknown = sorted(used - documented().keys())
    assert not unknown, f"not in docs/reference/metrics.md: {', '.join(unknown)}"


@each_rule
def test_labels_exist(rule: dict[str, Any]) -> None:
    metrics = documented()
    used = set(re.findall(r"\bdbops_[a-z0-9_]+", rule["expr"]))
    known = EVERYWHERE.union(*(metrics.get(name, set()) for name in used))
    asked = set(re.findall(r"([a-z_]+)=~?\"", rule["expr"]))
    asked |= set(re.findall(r"\$labels\.([a-z_]+)", rule["annotations"]["summary"]))
    assert asked <= known, f"unknown labels: {', '.join(sorted(asked - known))}"


@each_rule
def test_a_person_knows_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"].endswith(".")
    assert (ROOT / rule["annotations"]["runbook"]).is_file()


def test_the_guide_lists_every_alert() -> None:
    guide = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    short = {"DbopsDifferentialBackupLate": "DifferentialLate"}
    short["DbopsIncrementalBackupLate"] = "IncrementalLate"
    missing = [
        rule["alert"] for rule in rules() if short.get(rule["alert"], rule["alert"]) not in guide
    ]
    assert not missing, f"not in docs/how-to/monitor.md: {', '.join(missing)}"
