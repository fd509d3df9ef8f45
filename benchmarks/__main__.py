"""Measure dbops against the bare tools, interleaved, medians of five; write a table.

``python -m benchmarks [GROUP[.PART]…]``: a group is a module here. A lab of its own (``bench``) is
made for each and removed. Nothing here passes or fails: the figures go to
``docs/reference/benchmarks.md`` with date and machine.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from benchmarks import measuring
from benchmarks.measuring import Row
from lab import fleet
from lab.fleet import Lab

GROUPS = ("site", "postgresql", "mysql", "redis")


def _chosen(names: list[str]) -> dict[str, list[str]]:
    """Return the parts to measure by group; LookupError names one that there is not."""
    chosen: dict[str, list[str]] = {}
    for name in names or GROUPS:
        group, _, part = name.partition(".")
        if group not in GROUPS:
            raise LookupError(f"unknown {group!r}: there are {', '.join(GROUPS)}")
        parts = import_module(f"benchmarks.{group}").PARTS
        if part and part not in parts:
            raise LookupError(f"unknown {name!r}: {group} has {', '.join(parts)}")
        chosen.setdefault(group, []).extend([part] if part else parts)
    return chosen


def _measure(group: str, parts: list[str]) -> None:
    module = import_module(f"benchmarks.{group}")
    bench = module.Bench(Lab("bench", "bookworm", module.ENGINES))
    try:
        fleet.up(bench.lab)
        measuring.keep(f"{group}-0", [Row(f"{group}: first run, s", [bench.site_yml()], [], "-")])
        for number, part in enumerate(module.PARTS, 1):
            if part in parts:
                print(f"{group}.{part}", file=sys.stderr)
                measuring.keep(f"{group}-{number}-{part}", module.PARTS[part](bench))
    finally:
        if os.environ.get("DBOPS_KEEP_LAB") != "1":
            fleet.down(bench.lab)


def main(names: list[str]) -> int:
    """Measure the named groups or parts, all by default; print the table and write the page."""
    try:
        chosen = _chosen(names)
    except LookupError as error:
        print(f"benchmarks: {error.args[0]}", file=sys.stderr)
        return 2
    for group, parts in chosen.items():
        _measure(group, parts)
    print(measuring.publish())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
