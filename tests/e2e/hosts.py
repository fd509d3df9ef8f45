"""A fleet under test as a controller and its users see it. Knows no engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import ledger
from demo.fleet import Fleet
from demo.flights import ROWS
from lab import faults, fleet
from lab.machine import podman

_RECAP = re.compile(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


@dataclass(frozen=True)
class Done:
    """What a command on a host left."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Both outputs, without the ends of lines that a terminal's width put there."""
        return " ".join((self.stdout + "\n" + self.stderr).split())

    def json(self) -> Any:
        """Return the standard output as JSON."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Play:
    """How a playbook ended: its status, what it printed, and changed tasks by host."""

    status: int
    output: str

    @property
    def said(self) -> str:
        """What it printed, without the ends of lines."""
        return " ".join(self.output.split())

    @property
    def changed(self) -> dict[str, int]:
        """Changed tasks by host, from the recap; hosts without a change are left out."""
        return {m[1]: int(m[2]) for m in _RECAP.finditer(self.output) if int(m[2])}

    @property
    def changes(self) -> list[str]:
        """The tasks that changed something, with the hosts."""
        found, task = [], ""
        for line in self.output.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.split("[", 1)[1].split("]")[0]
            elif line.startswith("changed: ["):
                found.append(f"{task} on {line.split('[', 1)[1].split(']')[0]}")
        return found

    @property
    def deprecated(self) -> list[str]:
        """What Ansible will not take for ever, without mitogen's strategy: it is an option."""
        said = [part.split("\n\n")[0] for part in self.output.split("[DEPRECATION WARNING]: ")[1:]]
        return [one for one in said if not one.startswith("Use of strategy plugins not included")]

    @property
    def last_lines(self) -> str:
        """The end of what it printed, for a failure's message."""
        return "\n".join(self.output.splitlines()[-40:])


class Site(Fleet, ABC):
    """One engine's hosts. Commands go over SSH, faults straight into the containers.

    ``beside`` are options of ansible-playbook for inventories beside the lab's own. ``strategy`` is
    how the tasks of a playbook are carried out: mitogen's takes half of the processor time. The
    plain one is molecule's, and that of a switchover, which molecule does not run. ``controls`` are
    the prefix and the number of the engine's hardening controls, ``profiles`` those that need not
    apply, ``rows`` what is loaded of the five tables.
    """

    beside: tuple[str, ...] = ()
    strategy: str = "dbops_fast"
    controls: tuple[str, int] = ("", 0)
    rows: Mapping[str, int] = ROWS
    profiles: frozenset[str] = frozenset()

    def who(self, host: str) -> str:
        """Return the account that runs ``dbops`` on ``host``."""
        return self.account if host == self.repository else "root"

    @property
    def hosts(self) -> tuple[str, ...]:
        """This engine's hosts, whatever others the lab has."""
        return fleet.FLEETS[self.engine]

    def inside(self, host: str) -> str:
        """Return what a server on ``host`` holds beside data: accounts, settings, privileges."""
        return ""

    @abstractmethod
    def whole(self) -> bool:
        """Return whether there is one primary and everybody follows it."""

    @abstractmethod
    def primary(self) -> str:
        """Return the member that accepts writes; AssertionError unless it is exactly one."""

    @abstractmethod
    def heal(self) -> None:
        """Make the cluster whole again after a test that broke it."""

    @abstractmethod
    def load(self) -> None:
        """Fill the five tables unless they are there."""

    @abstractmethod
    def writing(self, path: Path) -> AbstractContextManager[None]:
        """Keep a client running that commits rows and records them at ``path``."""

    @abstractmethod
    def stored(self) -> set[int]:
        """Return the numbers of the client's rows that the database has."""

    def writer(self, path: Path) -> Load:
        """Return a writer whose ledger is ``path``, not yet running."""
        return Load(self, path)

    def argv(self, verb: str, *extra: str) -> list[str]:
        """Return the command line of a playbook."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", str(self.inventory), *self.beside, f"playbooks/{verb}.yml", *extra]

    def environment(self, verb: str = "") -> dict[str, str]:
        """Return the controller's environment, for the playbook ``verb`` or something else."""
        strategy = "linear" if verb == "switchover" else self.strategy
        # mitogen wants a host to be ready for it by then, and OpenSSH only to connect.
        patient = {"ANSIBLE_TIMEOUT": "60"} if strategy == "dbops_fast" else {}
        here = str(Path(sys.executable).parent)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "MOLECULE_"))}
        return {
            **own,  # without what molecule tells its own plays
            "PATH": f"{here}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(fleet.CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STRATEGY": strategy,
            # A fleet's facts are gathered once: half a second of each host for each of 150 plays.
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.lab.state / "facts"),
            **patient,
        }

    def run_play(self, verb: str, *extra: str, ok: bool = True) -> Play:
        """Run a playbook to its end; an AssertionError shows its last lines when it failed."""
        done = subprocess.run(
            self.argv(verb, *extra), cwd=fleet.CHECKOUT, env=self.environment(verb), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        play = Play(done.returncode, done.stdout)
        assert not ok or play.status == 0, f"{verb}.yml failed:\n{play.last_lines}"
        assert not play.deprecated, f"{verb}.yml:\n{play.deprecated}"
        return play

    def remove(self, *hosts: str) -> None:
        """Remove some of the lab's hosts, and their facts: others may take their names."""
        fleet.remove(self.lab, hosts)
        for host in hosts:
            for path in (self.lab.state / "facts").glob(f"*_{host}"):
                path.unlink()

    def migrate(self, step: str, to: str, *extra: str, ok: bool = True) -> Play:
        """Run one step of a migration to the cluster ``to``."""
        about = {"to": to, "step": step}
        given = [w for k, v in about.items() for w in ("-e", f"dbops_migrate_{k}={v}")]
        return self.run_play("migrate", *given, *extra, ok=ok)

    def run(self, host: str, *argv: str, user: str = "root", seconds: float = 600) -> Done:
        """Run a command on ``host`` over SSH, whatever its exit status."""
        line = shlex.join(["sudo", "-u", user, *argv])
        done = subprocess.run(
            [*fleet.ssh_argv(self.lab, host), line], capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def dbops(self, host: str, *argv: str, ok: bool = True) -> Done:
        """Run ``dbops`` on ``host`` as the account that does so there."""
        done = self.run(host, "dbops", *argv, user=self.who(host))
        assert "Traceback" not in done.stderr, done.stderr
        assert not ok or done.status == 0, f"dbops {' '.join(argv)} on {host}: {done.said}"
        return done

    def start(self, host: str, *argv: str) -> subprocess.Popen[str]:
        """Start ``dbops`` on ``host`` and return the process that waits for it."""
        line = shlex.join(["sudo", "-u", self.who(host), "dbops", *argv])
        return subprocess.Popen(
            [*fleet.ssh_argv(self.lab, host), line], stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def root(self, host: str, script: str, ok: bool = True) -> str:
        """Run a shell script as root in the container of ``host``."""
        return faults.on(self.lab, host, script, ok=ok).strip()

    def backups(self) -> list[dict[str, Any]]:
        """Return the catalogue's backups, oldest first."""
        found: list[dict[str, Any]] = self.dbops(
            self.repository, "backup", "list", "--json"
        ).json()["backups"]
        return found

    def take(self, kind: str = "incremental", ok: bool = True) -> Done:
        """Take a backup on the repository host.

        One that must succeed waits for the timer's own, as status 8 asks: that runs each minute.
        """
        argv = (self.repository, "backup", "take", "--type", kind)
        deadline = time.monotonic() + 60
        while (done := self.dbops(*argv, ok=False)).status == 8 and ok:
            assert time.monotonic() < deadline, done.said
            time.sleep(0.5)
        assert not ok or done.status == 0, f"dbops {' '.join(argv[1:])}: {done.said}"
        return done

    def settings(self, host: str) -> dict[str, Any]:
        """Return what the target file of ``host`` says."""
        found: dict[str, Any] = json.loads(
            self.root(host, f"cat /etc/dbops/targets/{self.cluster}.json")
        )
        return found

    def checks(self, host: str) -> list[dict[str, Any]]:
        """Return what ``dbops check`` finds on ``host``."""
        found: list[dict[str, Any]] = self.dbops(host, "check", "--json", ok=False).json()
        return found

    def server(self, host: str, verb: str) -> None:
        """Start, stop or kill the database service of ``host``."""
        self.root(host, f"systemctl {verb} {self.settings(host)['options']['service']}")

    def converged(self, verb: str = "site") -> None:
        """Assert that a playbook finds nothing to change."""
        play = self.run_play(verb)
        assert not play.changes, f"{verb}.yml changed: {'; '.join(play.changes)}"
        assert play.changed == {}

    def powered(self) -> set[str]:
        """Return the hosts whose container runs."""
        names = set(podman("ps", "--format", "{{.Names}}").split())
        return {host for host in self.hosts if self.lab.container(host) in names}


def wait(done: Any, seconds: float, what: str, pause: float = 0.5) -> None:
    """Wait until ``done()`` is true; AssertionError when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(pause)


class Load:
    """A writer that runs while a test does, and its ledger compared with the database."""

    def __init__(self, site: Site, path: Path) -> None:
        self.site = site
        self.ledger = path
        # The writer numbers its rows by the time, in microseconds, and goes on from there.
        self._first = self._last = time.time_ns() // 1000

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the writer running, in a process of its own, while the block runs."""
        try:
            with self.site.writing(self.ledger):
                yield
        finally:
            self._last = time.time_ns() // 1000

    @property
    def acknowledged(self) -> dict[int, float]:
        """Acknowledged numbers with their times."""
        return ledger.read(self.ledger).acknowledged if self.ledger.exists() else {}

    def more(self, number: int = 50, seconds: float = 60) -> None:
        """Wait until ``number`` more commits were acknowledged."""
        before = len(self.acknowledged)
        wait(
            lambda: len(self.acknowledged) >= before + number,
            seconds,
            f"{number} more commits",
            0.2,
        )

    def stored(self) -> dict[int, float]:
        """Return the rows of this ledger's writer in the database, with the times in them.

        The writer's numbers are times themselves, in microseconds; an engine whose rows hold a
        time of their own says so in its own class.
        """
        there = self.site.stored()
        return {one: one / 1e6 for one in there if self._first <= one <= self._last}

    def lost(self) -> dict[int, float]:
        """Return the acknowledged writes that the database lacks, with their times."""
        there = self.stored()
        assert there, "the database has no row of this writer at all"
        return {number: when for number, when in self.acknowledged.items() if number not in there}

    def nothing_lost(self) -> None:
        """Assert that every acknowledged write is there, and that there were some."""
        assert len(self.acknowledged) > 50, "the writer wrote next to nothing"
        lost = self.lost()
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged writes are lost"
