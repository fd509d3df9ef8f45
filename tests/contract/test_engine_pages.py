"""Every engine has a page with the same headings, so that a person finds the same thing there."""

from __future__ import annotations

import re

import pytest

from dbops import engines
from tests.contract.grid import ROOT

PAGES = ROOT / "docs" / "engines"


def headings(name: str) -> list[str]:
    """Return the second-level headings of an engine's page."""
    return re.findall(r"^## (.+)$", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_has_a_page_with_the_usual_headings(name: str) -> None:
    assert (PAGES / f"{name}.md").is_file(), f"write docs/engines/{name}.md"
    assert headings(name) == headings("postgresql")


@pytest.mark.parametrize("name", engines.NAMES)
def test_the_readme_leads_to_it(name: str) -> None:
    assert f"docs/engines/{name}.md" in (ROOT / "README.md").read_text(encoding="utf-8")
