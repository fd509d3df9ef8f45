"""What every benchmark uses: rows of the table, measurements in turn, hosts, and the page.

Each part keeps its rows with date and machine under ``benchmarks/results``; the page is written
from all that are there, so that measuring one part again leaves the others as they were.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from lab import faults
from lab.fleet import CHECKOUT, Lab

RUNS = 5
RESULTS = Path(__file__).parent / "results"
PAGE = CHECKOUT / "docs" / "reference" / "benchmarks.md"


@dataclass(frozen=True)
class Row:
    """One comparison: what, our values and the peer's, and the bound aimed at."""

    what: str
    ours: list[float]
    peer: list[float]
    bound: str

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        if not self.peer:
            return (self.what, _spread(self.ours), "-", "-", self.bound)
        ratio = f"{statistics.median(self.ours) / statistics.median(self.peer):.2f}"
        return (self.what, _spread(self.ours), _spread(self.peer), ratio, self.bound)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f}-{max(values):.2f})"


def interleaved(
    ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return ``RUNS`` measurements of each, taken in turn."""
    left: list[float] = []
    right: list[float] = []
    for number in range(RUNS):
        left.append(ours())
        right.append(peer())
        print(f"  {number + 1}: {left[-1]:.2f} {right[-1]:.2f}", file=sys.stderr)
    return left, right


class Hosts:
    """An engine's hosts of the lab; each timing is wall seconds, taken on the host itself.

    ``variables`` are given to site.yml beside those of the lab's inventory.
    """

    variables: ClassVar[dict[str, int]] = {}

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def on(self, host: str, script: str) -> str:
        """Run a script as root on ``host``."""
        return faults.on(self.lab, host, f"set -euo pipefail; cd /; {script}")

    def timed(self, host: str, script: str) -> float:
        """Return the seconds that ``script`` takes on ``host``, measured there."""
        out = self.on(host, f"s=$(date +%s.%N); {{ {script}; }} >/dev/null 2>&1; e=$(date +%s.%N); "
                            'python3 -c "print($e - $s)"')  # fmt: skip
        return float(out.strip().splitlines()[-1])

    def site_yml(self, strategy: str = "linear") -> float:
        """Return the seconds of one run of site.yml over the whole lab."""
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_STRATEGY": strategy,
        }
        began = time.monotonic()
        subprocess.run(
            ["ansible-playbook", "-i", str(self.lab.state / "inventory"),
             "-e", json.dumps(self.variables), "playbooks/site.yml"],
            cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return time.monotonic() - began

    def fingerprint_rates(self, host: str, account: str, cluster: str) -> list[float]:
        """Return ``RUNS`` rates of a fingerprint of everything, in megabytes a second."""
        words = f"dbops fingerprint --cluster {cluster} --json 2>/dev/null"
        rates = []
        for _ in range(RUNS):
            taken = json.loads(self.on(host, f"runuser -u {account} -- {words}"))
            megabytes = sum(one["bytes_read"] for one in taken) / 1e6
            rates.append(megabytes / sum(one["seconds"] for one in taken))
        return rates


def keep(part: str, rows: list[Row]) -> None:
    """Keep the rows of a part, with today's date and this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    record = {
        "taken": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]}",
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{part}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def publish() -> str:
    """Write the page from every part that was kept, and return it."""
    lines = [
        "# Benchmarks",
        "",
        "Taken by `make bench`, all hosts on one machine; median (minimum-maximum) of "
        f"{RUNS} runs taken in turn.",
        "",
        "| what | dbops | peer | ratio | aim | taken |",
        "|---|---|---|---|---|---|",
    ]
    machines = set()
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        machines.add(record["machine"])
        for row in record["rows"]:
            cells = (*Row(**row).cells(), record["taken"])
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"Machine: {'; '.join(sorted(machines))}.", ""]
    text = "\n".join(lines)
    PAGE.write_text(text, encoding="utf-8")
    return text
