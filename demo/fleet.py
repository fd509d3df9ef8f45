"""What the demo of every engine uses: steps, playbooks, commands on hosts, a writer beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from dbops.errors import Busy
from lab import fleet
from lab.fleet import Lab

_BUSY_SECONDS = 300.0
ERR = Console(stderr=True)

Row = tuple[str, str, str, bool]
"""What, expected, found, and whether that is good."""


class DemoError(Exception):
    """The demo cannot go on; the message says at which step."""


@dataclass
class Outcome:
    """What a demo came to: its rows, the drill's report, and what to try next."""

    rows: list[Row] = field(default_factory=list)
    report: Path | None = None
    next_lines: tuple[str, ...] = ()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Tell what is being done and how long it took."""
    ERR.print(f"[bold]==> {title}[/bold]")
    start = time.monotonic()
    yield
    ERR.print(f"    done in {time.monotonic() - start:.0f} s")


class Fleet(ABC):
    """One engine's hosts of the lab as the demo uses them: over SSH, as any controller would.

    ``members`` are the hosts that an application tries in turn, ``repository`` keeps the backups
    (``account`` takes them there) and ``drill`` proves them.
    """

    engine = ""
    cluster = ""
    members: tuple[str, ...] = ()
    repository = ""
    account = ""
    drill = ""

    what = ""
    """What ``site.yml`` makes of the hosts, in words."""
    options: tuple[str, ...] = ()
    """What ``site.yml`` is told besides."""
    source = ""
    """What a backup is taken from."""
    loss_seconds = 0.0
    """How much of the newest writes a restore may lack when the primary is destroyed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.inventory = lab.state / "inventory"
        self.secrets = lab.state / "secrets"

    def play(self, verb: str, *extra: str) -> None:
        """Run a playbook on this engine's hosts with progress; DemoError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "dbops", "play", verb, "-i", str(self.inventory),
             "--limit", self.engine, *extra],
            cwd=fleet.CHECKOUT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DemoError(f"playbooks/{verb}.yml failed with status {done.returncode}.")

    def ssh(self, host: str, *argv: str, check: bool = True) -> str:
        """Run a command as root on ``host`` and return what it printed; progress goes through."""
        done = self._run(host, *argv)
        if check and done.returncode != 0:
            raise DemoError(f"{' '.join(argv[:3])} on {host} failed with status {done.returncode}.")
        return done.stdout

    def _run(self, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*fleet.ssh_argv(self.lab, host), "sudo", *argv],
            stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    @abstractmethod
    def load(self) -> None:
        """Fill the five tables unless they are there."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the rows of each of the five tables."""

    @abstractmethod
    def writing(self, path: Path) -> AbstractContextManager[None]:
        """Keep a writer running, in a process of its own, while the block runs."""

    @abstractmethod
    def stored(self) -> set[int]:
        """Return the numbers of the writer's rows that the database has."""

    @abstractmethod
    def writable(self) -> str:
        """Return the name of the member that accepts writes now."""

    def victims(self) -> tuple[str, ...]:
        """Return the members that the demo destroys; the first is restored."""
        return (self.writable(),)

    @abstractmethod
    def destroy(self, host: str) -> None:
        """Kill the database server of ``host`` without warning and remove its data directory."""

    def back_up(self, kind: str = "full") -> None:
        """Take a backup on the repository host, after one that the schedule may have begun."""
        argv = ("-u", self.account, "dbops", "backup", "take", "--cluster", self.cluster,
                "--type", kind)  # fmt: skip
        deadline = time.monotonic() + _BUSY_SECONDS
        while (done := self._run(self.repository, *argv)).returncode == Busy.exit_status:
            if time.monotonic() > deadline:
                break
            time.sleep(5)
        if done.returncode != 0:
            raise DemoError(
                f"dbops backup take on {self.repository} failed with status {done.returncode}."
            )

    def secret(self, name: str) -> str:
        """Return a secret that the inventory made for this lab."""
        return (self.secrets / name).read_text().strip()

    @property
    def ca_file(self) -> Path:
        """The certificate of the lab's own authority."""
        return self.secrets / "pki" / "ca.crt"

    def prove(self) -> list[Row]:
        """Run a drill on the drill host and return what it came to."""
        self.ssh(self.drill, "dbops", "drill", "run", "--cluster", self.cluster, check=False)
        history = json.loads(
            self.ssh(self.drill, "dbops", "drill", "history", "--cluster", self.cluster, "--json")
        )
        if not history:
            return [("drill proven", "yes", "no drill came to an end", False)]
        last = history[-1]
        rows: list[Row] = [
            ("drill proven", "yes", "yes" if last["proven"] else last["reason"], last["proven"])
        ]
        same = sum(1 for table in last["tables"] if table["equal"])
        total = len(last["tables"])
        rows.append(
            ("tables with equal fingerprint", str(total), str(same), total > 0 and same == total)
        )
        for name in ("rpo", "rto"):
            objective, measured = last[f"{name}_objective_seconds"], last[f"{name}_seconds"]
            good = measured is not None and measured <= objective
            text = "unknown" if measured is None else f"{measured:.1f} s"
            rows.append((f"{name.upper()} of the drill", f"<= {objective:.0f} s", text, good))
        size = last["bytes_restored"]
        rows.append(("bytes restored by the drill", "> 0", f"{size / 1e6:.0f} MB", size > 0))
        return rows

    def report(self) -> Path:
        """Fetch the drill's page and return where it is."""
        path = self.lab.state / f"drill-{self.engine}.html"
        path.write_text(
            self.ssh(self.drill, "dbops", "drill", "report", "--cluster", self.cluster,
                     "--output", "-")
        )  # fmt: skip
        return path


@contextmanager
def writing(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a writer (a module of the demo, with its arguments) running while the block runs."""
    process = subprocess.Popen([sys.executable, "-m", *argv], cwd=fleet.CHECKOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
