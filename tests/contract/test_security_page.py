"""SECURITY.md names the tests of what was attacked: all there are, and none that is gone."""

from __future__ import annotations

import re

from tests.contract.grid import ROOT

_TESTS = ROOT / "tests"
_NAME = re.compile(r"`((?:attacks|contract|e2e|integration|unit)/[^`]+\.py)`")


def _named() -> list[str]:
    return _NAME.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8"))


def test_each_test_that_the_page_names_is_there() -> None:
    names = _named()
    assert names, "the page names no test"
    assert [name for name in names if not any(_TESTS.glob(name))] == []


def test_the_page_names_every_attack_on_hosts() -> None:
    named = {path for name in _named() for path in _TESTS.glob(name)}
    there = set(_TESTS.glob("attacks/*/test_*.py"))
    assert sorted(str(path.relative_to(_TESTS)) for path in there - named) == []
