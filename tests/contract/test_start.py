"""What a command loads: what it runs and no more. The log timers start dbops every minute."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dbops import engines
from tests.contract.grid import ROOT

DRIVERS = {"postgresql": {"psycopg"}, "redis": {"redis"}, "mysql": {"pymysql"}}
DEAR = {"ansible", "asyncio", "fabric", "http.server", "jinja2", "rich", "yaml"}.union(
    *DRIVERS.values()
)
ENGINES_OWN = tuple(f"dbops.engines.{name}." for name in engines.NAMES)
COMMAND = "import sys; from dbops.cli import run; status = run(sys.argv[1:]); assert not status"
FUNCTIONS = """
import sys
from dbops import engines
engine = engines.get(sys.argv[1])
for name in sys.argv[2:] or vars(engine):
    function = getattr(engine, name)
    if isinstance(function, engines.Later):
        assert callable(function.resolve())
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the modules that a new interpreter holds after ``code``."""
    code += "\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("--help", set()),
        ("check --help", set()),
        ("backup take --help", set()),
        ("engines --json", set()),
        ("engines", {"rich"}),
    ],
)
def test_a_command_loads_nothing_dear_that_it_does_not_need(words: str, needed: set[str]) -> None:
    modules = loaded(COMMAND, *words.split())
    assert modules & DEAR == needed
    assert not [name for name in modules if name.startswith(ENGINES_OWN)]


@pytest.mark.parametrize("name", engines.NAMES)
def test_reading_the_catalogue_loads_no_driver(name: str) -> None:
    assert loaded(FUNCTIONS, name, "catalogue", "verify", "plan_expire") & DEAR == set()


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_has_its_functions_and_loads_no_other(name: str) -> None:
    modules = loaded(FUNCTIONS, name)
    assert modules & DEAR - {"asyncio"} == DRIVERS[name]
    packages = {f"dbops.engines.{other}" for other in engines.NAMES}
    assert modules & packages == {f"dbops.engines.{name}"}
