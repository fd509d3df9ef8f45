"""``python3 -m lab.artefacts``: make the packages of engines that the distribution lacks."""

from __future__ import annotations

import argparse
import os
import sys

from lab.artefacts import store
from lab.artefacts.registries import OutOfReach
from lab.machine import LabError, say


def main() -> int:
    """Make what was asked for; return 0 also for what is left out, whose number and why is said."""
    parser = argparse.ArgumentParser(prog="lab.artefacts", description=__doc__)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=", ".join(store.MAKERS))
    chosen = parser.parse_args().engines or list(store.MAKERS)
    if unknown := [engine for engine in chosen if engine not in store.MAKERS]:
        parser.error(f"no packages are made for {unknown[0]!r}: only for {', '.join(store.MAKERS)}")
    if os.geteuid() != 0:
        parser.error("the lab keeps what it makes where only root writes: run it with sudo")
    left_out = 0
    for engine in chosen:
        try:
            print(store.folder(engine))
        except OutOfReach as error:
            say(f"{engine} is left out: {error}")
            left_out += 1
        except LabError as error:
            print(f"lab: {error}", file=sys.stderr)
            return 1
    say(f"{len(chosen) - left_out} made, {left_out} left out")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
