"""Programs cut off from every network, and the proof that they are. Knows no engine.

A restored server must not reach production, nor be reached by it. Each start makes a new network
namespace in which the starting process first proves that it is alone, and then becomes the program
(:mod:`dbops.isolated`). Nothing is assumed: a host that ignores the request ends the drill.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbops import isolated, runner
from dbops.errors import CommandFailed, VerificationFailed

_PROGRAM = Path(isolated.__file__)


@dataclass(frozen=True)
class Cell:
    """Where isolated programs run: as account ``user``, unable to reach any of ``hosts``."""

    user: str
    hosts: tuple[tuple[str, int], ...]

    def command(
        self,
        argv: Sequence[str],
        *,
        title: str = "",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> runner.Command:
        """Return the command that runs ``argv`` in a new namespace, after the proof in there."""
        places = [f"{address}:{port}" for address, port in self.hosts]
        inside = [sys.executable, "-I", str(_PROGRAM), _namespace("self"), self.user, *places]
        return runner.Command(
            ("unshare", "--net", "--", *inside, "--", *argv),
            title=title,
            env=env or {},
            timeout_seconds=timeout_seconds,
        )

    def prove(self) -> str:
        """Prove that such a process is cut off, return how; VerificationFailed on any doubt."""
        if os.geteuid() != 0:
            raise VerificationFailed("Isolation is not proven: only root can make it.")
        if not self.hosts:
            raise VerificationFailed(
                "Isolation is not proven: the target names no production host to try to reach."
            )
        self.run(())
        return (
            f"own network namespace, only lo, no route, {len(self.hosts)} production "
            f"server{'s' if len(self.hosts) != 1 else ''} out of reach"
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        title: str = "",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> runner.Completed:
        """Run ``argv`` inside; VerificationFailed without isolation, else CommandFailed."""
        command = self.command(argv, title=title, env=env, timeout_seconds=timeout_seconds)
        done = runner.capture(command)
        if done.status == isolated.NOT_ISOLATED:
            raise VerificationFailed(done.stderr.strip().splitlines()[-1])
        if done.status != 0 and not argv:
            said = done.stderr.strip().splitlines() or ["nothing was said"]
            raise VerificationFailed(f"Isolation is not proven: {said[-1]}.")
        if done.status != 0:
            raise CommandFailed(runner.explain(command, done))
        return done


def prove_process(pid: int) -> None:
    """Raise VerificationFailed unless the running process ``pid`` is alone in its own namespace."""
    try:
        same = _namespace(str(pid)) == _namespace("self")
        seen = isolated.interfaces(f"/proc/{pid}/net/dev")
    except OSError as error:
        raise VerificationFailed(
            f"Isolation is not proven: process {pid} cannot be examined ({error.strerror})."
        ) from None
    if same or seen != ["lo"]:
        raise VerificationFailed(
            f"Isolation is not proven: the restored server (process {pid}) is on a network."
        )


def _namespace(process: str) -> str:
    return os.readlink(f"/proc/{process}/ns/net")
