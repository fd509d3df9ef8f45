"""Reference pages: every command and every metric is documented, and generated pages are fresh."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dbops import cli
from dbops.commands.docs import pages
from tests.contract.grid import ROOT

OWN_MODULES = (
    "exporter/collecting.py",
    "exporter/server.py",
    "monitor/samples.py",
    "commands/checks.py",
)


def metric_patterns() -> Iterator[tuple[str, Path]]:
    """Yield a pattern for the name of each ``Sample`` that the package makes.

    A function that makes one of a prefix and its first parameter is followed to its calls.
    """
    engine_modules = sorted((ROOT / "dbops" / "engines").glob("*/*.py"))
    for path in [*(ROOT / "dbops" / module for module in OWN_MODULES), *engine_modules]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        made_by: dict[str, tuple[str, str]] = {}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.args.args:
                for name in _sample_names(function):
                    parts = _around(name, function.args.args[0].arg)
                    if parts is not None:
                        made_by[function.name] = parts
        for name in _sample_names(tree):
            pattern = _pattern(name)
            if pattern:
                yield pattern, path
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
                first = call.args[0]
                if call.func.id in made_by and isinstance(first, ast.Constant):
                    prefix, suffix = made_by[call.func.id]
                    yield f"{prefix}{first.value!s}{suffix}", path


def _sample_names(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Sample") and node.args:
            yield node.args[0]


def _around(name: ast.expr, parameter: str) -> tuple[str, str] | None:
    if not isinstance(name, ast.JoinedStr):
        return None
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"\0{ast.unparse(part)}\0"
        for part in name.values
    )
    prefix, _, rest = text.partition("\0")
    field, _, suffix = rest.partition("\0")
    return (prefix, suffix) if parameter in field else None


def _pattern(name: ast.expr) -> str:
    if isinstance(name, ast.Constant):
        return str(name.value)
    if isinstance(name, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "[a-z0-9_]+"
            for part in name.values
        )
    return ""


def test_every_metric_is_documented() -> None:
    page = ROOT / "docs" / "reference" / "metrics.md"
    assert page.is_file(), "write docs/reference/metrics.md"
    documented = set(re.findall(r"`([a-z0-9_]+)(?:\{[^`]*\})?`", page.read_text(encoding="utf-8")))
    missing = sorted(
        f"{pattern} ({path.relative_to(ROOT)})"
        for pattern, path in set(metric_patterns())
        if not any(re.fullmatch(pattern, name) for name in documented)
    )
    assert not missing, "not in docs/reference/metrics.md:\n" + "\n".join(missing)


def test_generated_pages_are_fresh() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in pages(ROOT, cli.cli)
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"stale: {', '.join(stale)}; run 'make docs'"
