"""Processes: the runner starts them, and so may the programs that ARCHITECTURE.md lists by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.grid import ROOT

RUNNER = "dbops.runner"
LIBRARIES = {"subprocess", "multiprocessing", "pty", "_posixsubprocess"}
OF_OS = re.compile(r"posix_spawnp?|fork(pty)?|exec[lv]p?e?|spawn[lv]p?e?|system|popen")
ELSEWHERE = {"create_subprocess_exec", "create_subprocess_shell", "ProcessPoolExecutor"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted((ROOT / "dbops").rglob("*.py"))
    }


def programs() -> set[str]:
    """Return the programs in the table of ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("### Programs of their own\n")[2].partition("\n#")[0]
    return set(re.findall(r"^\| `(dbops[\w.]+)` \|", section, re.M))


def starts(tree: ast.Module) -> Iterator[str]:
    """Yield each name in a module with which it can start a process or become another program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in LIBRARIES)
        elif isinstance(node, ast.ImportFrom):
            of_os = OF_OS if node.module in ("os", "posix") else None
            if (node.module or "").partition(".")[0] in LIBRARIES:
                yield str(node.module)
            for name in (alias.name for alias in node.names):
                if name in ELSEWHERE or (of_os and of_os.fullmatch(name)):
                    yield f"{node.module}.{name}"
        elif isinstance(node, ast.Attribute) and (
            node.attr in ELSEWHERE or (OF_OS.fullmatch(node.attr) and _is_os(node.value))
        ):
            yield ast.unparse(node)


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("os", "posix")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_only_the_runner_and_programs_of_their_own_start_processes() -> None:
    allowed = {RUNNER, *programs()}
    found = {
        name: sorted(set(starts(parsed(path))))
        for name, path in modules().items()
        if name not in allowed
    }
    assert {name: words for name, words in found.items() if words} == {}, "let dbops.runner do it"


def test_every_program_is_listed() -> None:
    runs = {
        name
        for name, path in modules().items()
        if any(
            isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
            for node in parsed(path).body
        )
    }
    assert runs == programs(), "list each program in ARCHITECTURE.md, Programs of their own"


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess",
        "from multiprocessing.pool import Pool",
        "from concurrent.futures import ProcessPoolExecutor",
        "from os import posix_spawn",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.fork()",
        "import os; os.execve('/bin/true', ['true'], {})",
        "import os; os.system('true')",
        "import asyncio; asyncio.create_subprocess_exec('true')",
    ],
)
def test_each_way_to_start_one_is_seen(line: str) -> None:
    assert list(starts(ast.parse(line)))
