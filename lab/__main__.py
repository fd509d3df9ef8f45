"""``python3 -m lab``: hosts for the tests, the demo and for trying things out."""

from __future__ import annotations

import argparse
import os
import sys

from lab import fleet, images, machine
from lab.machine import LabError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    parser.add_argument("--name", default=os.environ.get("DBOPS_LAB", "demo"), help="lab's name")
    parser.add_argument(
        "--release",
        default=os.environ.get("DBOPS_LAB_RELEASE", "bookworm"),
        choices=images.RELEASES,
    )
    parser.add_argument(
        "--engines",
        default=os.environ.get("DBOPS_LAB_ENGINES"),
        type=_engines,
        help="whose hosts to have, separated by commas; those that are up if left out",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="make the hosts, or what is missing of them")
    verbs.add_parser("down", help="remove this lab's hosts; images and caches stay")
    verbs.add_parser("clean", help="remove everything that the lab ever made")
    run = verbs.add_parser("podman", help="run podman as the lab does")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    shell = verbs.add_parser("exec", help="run a shell line as root on a host, without SSH")
    shell.add_argument("host")
    shell.add_argument("line")
    return parser


def _engines(text: str) -> tuple[str, ...]:
    chosen = tuple(text.replace(",", " ").split())
    unknown = [engine for engine in chosen if engine not in fleet.FLEETS]
    if unknown or not chosen:
        known = ", ".join(fleet.FLEETS)
        raise argparse.ArgumentTypeError(f"{text!r} names none of the engines {known}")
    return chosen


def main() -> int:
    """Carry out the command line; return the exit status."""
    arguments = _parser().parse_args()
    engines = arguments.engines or fleet.engines(arguments.name) or ("postgresql",)
    lab = fleet.Lab(arguments.name, arguments.release, engines)
    try:
        if arguments.verb == "up":
            fleet.up(lab)
            print(lab.state / "inventory")
        elif arguments.verb == "down":
            fleet.down(lab)
        elif arguments.verb == "clean":
            fleet.clean()
        elif arguments.verb == "podman":
            machine.prepare()
            os.execvp("env", [*machine.podman_argv(), *arguments.argv])
        else:
            machine.prepare()
            container = lab.container(arguments.host)
            os.execvp(
                "env", [*machine.podman_argv(), "exec", container, "bash", "-c", arguments.line]
            )
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
