"""Inventories that come with the kit: known variables only, and no secret in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.grid import ROLES, ROOT, load, options

FILES = sorted((ROOT / "inventories").glob("*/group_vars/**/*.yml"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


@each_file
def test_every_variable_is_known(path: Path) -> None:
    known = {name for role in ROLES for name in options(role)}
    unknown = [
        name
        for name in load(path) or {}
        if name.startswith(tuple(f"{role}_" for role in ROLES)) and name not in known
    ]
    assert not unknown, f"no role knows {', '.join(unknown)}"


@each_file
def test_no_secret_is_written_down(path: Path) -> None:
    secrets = {
        name: value
        for name, value in (load(path) or {}).items()
        if name.endswith(("_password", "_key"))
    }
    plain = [name for name, value in secrets.items() if not str(value).startswith("{{")]
    assert not plain, f"a secret in the open: {', '.join(plain)}"
