"""The demo: one command from nothing to a proven restore; status 0 only if every row is green.

``python -m demo ENGINE…`` does it for the engines named, one after another; for all without any.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

from rich.console import Console
from rich.table import Table

from dbops.engines import NAMES as ENGINES
from demo import story
from demo.fleet import ERR, DemoError, Outcome, step
from lab import fleet
from lab.fleet import Lab
from lab.machine import LabError


def main(chosen: tuple[str, ...]) -> int:
    """Run the demo of each of ``chosen`` and return the exit status."""
    unknown = [engine for engine in chosen if engine not in ENGINES]
    if unknown:
        ERR.print(f"demo: no engine {unknown[0]!r}: there are {', '.join(ENGINES)}.")
        return 2
    engines = chosen or ENGINES
    lab = Lab("demo", "bookworm", tuple(dict.fromkeys((*fleet.engines("demo"), *engines))))
    began = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    try:
        with step("Lab: hosts with systemd and SSH"):
            fleet.up(lab)
        for engine in engines:
            outcomes[engine] = _run(engine, lab)
    except (DemoError, LabError, TimeoutError) as error:
        ERR.print(f"[red]demo: {str(error).strip()}[/red]")
        return 1
    _show(outcomes)
    print(f"Total time: {time.monotonic() - began:.0f} s")
    print("\nThe lab is still up. Try next:")
    print(f"  .venv/bin/dbops fleet status -i {lab.state / 'inventory'}")
    for outcome in outcomes.values():
        print("\n".join(f"  {line}" for line in outcome.next_lines))
    print("  make lab-down")
    return 0 if all(row[3] for outcome in outcomes.values() for row in outcome.rows) else 1


def _run(engine: str, lab: Lab) -> Outcome:
    module = import_module(f"demo.{engine}")
    try:
        return story.run(module.FLEET(lab))
    except module.ERRORS as error:
        raise DemoError(str(error)) from None


def _show(outcomes: dict[str, Outcome]) -> None:
    for engine, outcome in outcomes.items():
        title = f"{engine}: what the restore brought back"
        table = Table("what", "expected", "found", "", title=title)
        for what, expected, found, good in outcome.rows:
            table.add_row(what, expected, found, "[green]OK[/green]" if good else "[red]RED[/red]")
        Console().print(table)
        print(f"Report: {outcome.report}")


if __name__ == "__main__":
    raise SystemExit(main(tuple(word for words in sys.argv[1:] for word in words.split())))
