"""All that ``make test`` and ``make test-engine`` run, two at a time, and what took how long.

``python -m tests.run`` is the check, then integration and each engine's scenario; with
``--engine`` it is everything about that one. What a part says goes to ``.lab/logs``; printed are
its progress, the end of what a failed one said, and the table.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from dbops import engines
from lab import images

CHECKOUT = Path(__file__).resolve().parent.parent
LOGS = CHECKOUT / ".lab" / "logs"
WORKERS = 2
TAIL = 80
# How molecule tells that an action of a scenario begins.
_ACTION = re.compile(r"^INFO\s+\[[\w-]+ > (\w+)\] Executing$")
_LEVELS = {"create": ["hosts"], "converge": ["converge"], "idempotence": ["rerun"],
           "verify": ["look", "same", "after"], "destroy": ["destroy", "destroy"]}  # fmt: skip
# The other server of an engine: its name, the scenario that has it and how it is chosen there.
_FLAVORS = {
    "mysql": ("mysql itself", "flavor-mysql", {}),
    "redis": ("valkey", "redis", {"DBOPS_REDIS_FLAVOR": "valkey", "DBOPS_LAB_RELEASE": "trixie"}),
}
COLUMNS = ("hosts", "converge", "rerun", "look", "same", "after", "destroy", "all")


@dataclass
class Part:
    """Something to run: its name, the words that start it, more of the environment; the outcome."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    status: int | None = None

    @property
    def log(self) -> Path:
        """The file of all it says."""
        return LOGS / f"{self.name.replace(' ', '-')}.log"


def run(part: Part) -> None:
    """Run a part to its end; note its status and what its levels took."""
    say(part.name, "begins")
    start = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        part.argv, cwd=CHECKOUT, text=True, errors="replace",
        env={**os.environ, "PATH": path, "NO_COLOR": "1", **part.environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    _follow(part, process.stdout)
    part.status = process.wait()
    part.seconds["all"] = time.monotonic() - start
    said = "passed" if part.status == 0 else f"FAILED with status {part.status}"
    say(part.name, f"{said} after {part.seconds['all']:.0f} s")
    if part.status != 0:
        print(_tail(part), flush=True)


def _follow(part: Part, lines: Iterable[str]) -> None:
    """Keep what a part says, and note how long each level took that it tells of."""
    left = {action: list(names) for action, names in _LEVELS.items()}
    level, since = "", time.monotonic()
    with part.log.open("w", encoding="utf-8") as log:
        for line in lines:
            log.write(line)
            log.flush()
            found = _ACTION.match(line.rstrip())
            if found and left.get(found[1]):
                _note(part, level, since)
                level, since = left[found[1]].pop(0), time.monotonic()
    _note(part, level, since)


def _note(part: Part, level: str, since: float) -> None:
    if level:
        took = time.monotonic() - since
        part.seconds[level] = part.seconds.get(level, 0.0) + took
        say(part.name, f"{level} took {took:.0f} s")


def _tail(part: Part) -> str:
    lines = part.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    return "\n".join([f"--- the end of {part.log.relative_to(CHECKOUT)}:", *lines, "---"])


def say(name: str, text: str) -> None:
    """Tell the user what a part is doing."""
    print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True)


def table(parts: Sequence[Part]) -> str:
    """Return what each level of each part took, in seconds, for people."""
    width = max(len(part.name) for part in parts)
    rows = [" ".join([" " * width, *(f"{name:>8}" for name in COLUMNS)])]
    for part in parts:
        cells = [part.seconds.get(name) for name in COLUMNS]
        words = (f"{'' if cell is None else format(cell, '.0f'):>8}" for cell in cells)
        end = {0: "", None: " (not run)"}.get(part.status, " FAILED")
        rows.append(" ".join([f"{part.name:<{width}}", *words]) + end)
    return "\n".join(rows)


def _pytest(name: str, *words: str) -> Part:
    options = ("-n", str(WORKERS), "--dist", "loadscope", "-ra", "--durations=15")
    return Part(name, (sys.executable, "-m", "pytest", *words, *options))


def _scenario(scenario: str, name: str = "", environment: Mapping[str, str] | None = None) -> Part:
    program = str(Path(sys.executable).with_name("molecule"))
    return Part(
        name or scenario,
        (program, "test", "--no-command-borders", "-s", scenario),
        environment or {},
    )


def everything() -> list[list[Part]]:
    """Return what ``make test`` runs after the check; the longest come first."""
    found = [[_scenario(engine)] for engine in engines.NAMES]
    return [*found, [_pytest("integration", "tests/integration")]]


def deep(engine: str, release: str) -> list[list[Part]]:
    """Return everything about one engine: what has the same lab comes one after another."""
    others = [name for name in engines.NAMES if name != engine]
    ignored = [f"--ignore-glob=tests/integration/{other}*" for other in others]
    suite = {"DBOPS_LAB_RELEASE": release, "DBOPS_DEEP": f"../../tests/e2e/{engine}"}
    scenarios = [_scenario(engine, f"{engine} on {release}", suite)]
    if engine in _FLAVORS:
        name, scenario, environment = _FLAVORS[engine]
        scenarios.append(_scenario(scenario, name, environment))
    integration = _pytest(f"{engine} integration", "tests/integration", *ignored)
    bare = _pytest(f"{engine} bare", "tests/e2e/bare", "-k", engine)
    return [scenarios, [integration, replace(bare, environment={"DBOPS_LAB_RELEASE": release})]]


def other_release(engine: str) -> str:
    """Return the release that ``make test`` does not have of an engine."""
    text = (CHECKOUT / "molecule" / engine / "molecule.yml").read_text(encoding="utf-8")
    found = re.search(r"\$\{DBOPS_LAB_RELEASE:-(\w+)\}", text)
    assert found, f"molecule/{engine} names no release"
    return next(release for release in images.RELEASES if release != found[1])


def _in_order(parts: Sequence[Part]) -> None:
    for part in parts:
        run(part)


def _lanes(arguments: argparse.Namespace) -> Iterator[list[Part]]:
    chosen = engines.NAMES if arguments.all else arguments.engines or ()
    for engine in chosen:
        yield from deep(engine, arguments.release or other_release(engine))
    if arguments.all:
        yield [_pytest("attacks", "tests/attacks")]
        yield [_pytest("controller", "tests/controller")]
        yield [_pytest("mirror", "tests/mirror")]
    if not chosen:
        yield from everything()


def main() -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.run", description=__doc__)
    parser.add_argument("--engine", action="append", choices=engines.NAMES, dest="engines")
    parser.add_argument("--release", choices=images.RELEASES)
    parser.add_argument("--all", action="store_true", help="every engine and what none has")
    arguments = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    check = Part("check", ("make", "--no-print-directory", "check"))
    lanes = list(_lanes(arguments))
    run(check)
    if check.status == 0:
        subprocess.run([str(CHECKOUT / "lab" / "servers.sh")], check=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(_in_order, lanes))
    parts = [check, *(part for lane in lanes for part in lane)]
    print(f"\nWhat took how long, in seconds:\n{table(parts)}")
    print(f"{'':{max(len(part.name) for part in parts)}} in all {time.monotonic() - start:.0f}")
    return 0 if all(part.status == 0 for part in parts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
