"""The drill's cell: where a restored server, and every tool that touches restored data, runs.

What comes out of a backup may have been made by anybody, so nothing of it is opened outside. A cell
is made anew for each program by bubblewrap: namespaces of its own, no network, no rights, an
account without groups or home, an empty environment, and one folder that may be written to. The
first process in there proves all that and then becomes the program (:mod:`.isolated`). Nothing is
assumed: a host that cannot do it ends the drill. Knows no engine.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbops import runner
from dbops.accounts import acting_as
from dbops.drill import isolated
from dbops.errors import CommandFailed, VerificationFailed

OUTPUT_BYTES = 16 * 1024 * 1024
"""What a tool may say at most: one that goes on without end would fill dbops' memory."""
_ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin", "HOME": "/nonexistent"}
_BEGIN_SECONDS = 10.0
_ADVICE = (
    "a drill host must let ordinary accounts make user namespaces (sysctl user.max_user_namespaces,"
    " kernel.unprivileged_userns_clone)"
)


@dataclass(frozen=True)
class Cell:
    """Where restored data are handled: as account ``user``, unable to reach any of ``hosts``.

    ``scratch`` is the only folder of the host that can be written to inside, under the same path.
    """

    user: str
    hosts: tuple[tuple[str, int], ...]
    scratch: Path

    def command(
        self,
        argv: Sequence[str],
        *,
        title: str = "",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        stdin: str | None = None,
    ) -> runner.Command:
        """Return the command that runs ``argv`` in a new cell, after the proof in there.

        The program's path is absolute. What ``env`` holds is on a command line: no secrets.
        """
        wish = {
            "user": self.user,
            "hosts": self.hosts,
            "scratch": str(self.scratch),
            "env": _ENVIRONMENT | dict(env or {}),
        }
        way = (sys.executable, "-I", "-m", "dbops.drill.entering", json.dumps(wish), "--")
        return runner.Command(
            (*way, *argv),
            title=title,
            stdin=stdin,
            timeout_seconds=timeout_seconds,
            output_bytes=OUTPUT_BYTES,
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
            f"own namespaces, only lo, no route, {len(self.hosts)} production "
            f"server{'s' if len(self.hosts) != 1 else ''} out of reach, account {self.user} "
            "without rights"
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        title: str = "",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        stdin: str | None = None,
    ) -> runner.Completed:
        """Run ``argv`` inside; VerificationFailed without isolation, else CommandFailed."""
        done = self.capture(
            argv, title=title, env=env, timeout_seconds=timeout_seconds, stdin=stdin
        )
        if done.status != 0:
            named = runner.Command(tuple(argv), title=title)
            raise CommandFailed(runner.explain(named, done))
        return done

    def capture(
        self,
        argv: Sequence[str],
        *,
        title: str = "",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        stdin: str | None = None,
    ) -> runner.Completed:
        """Run ``argv`` inside and return what it said, whatever its status.

        Raises VerificationFailed without isolation, CommandFailed for one that takes too long or
        says too much.
        """
        done = runner.capture(
            self.command(argv, title=title, env=env, timeout_seconds=timeout_seconds, stdin=stdin)
        )
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        if done.status == isolated.NOT_ISOLATED:
            raise VerificationFailed(said)
        if done.status != 0 and (not argv or said.startswith("bwrap: ")):
            words = said.rstrip(".")
            raise VerificationFailed(f"Isolation is not proven: {words}; {_ADVICE}.")
        return done

    def program(self, pid: int) -> int | None:
        """Return the process of the host that is the program of the running command ``pid``.

        That is the first process in the cell; None when there is none (any more).
        """
        try:
            with acting_as(self.user):
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except OSError:
            return None
        children = text.split()
        return int(children[0]) if len(children) == 1 else None

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to the program of the running command ``pid``, if it is still there."""
        program = self.program(pid)
        if program is not None:
            with suppress(ProcessLookupError), acting_as(self.user):
                os.kill(program, number)

    def prove_process(self, pid: int) -> None:
        """Raise VerificationFailed unless the program of the running ``pid`` is surely cut off."""
        deadline = time.monotonic() + _BEGIN_SECONDS
        while (program := self.program(pid)) is None:
            if time.monotonic() > deadline:
                raise VerificationFailed(
                    f"Isolation is not proven: process {pid} has no program in a cell."
                )
            time.sleep(0.01)
        with acting_as(self.user):
            reason = _doubt(program, *_ids(self.user))
        if reason is not None:
            raise VerificationFailed(
                f"Isolation is not proven: of the restored server (process {program}), {reason}."
            )


def _ids(user: str) -> tuple[int, int]:
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid


def _doubt(pid: int, uid: int, gid: int) -> str | None:
    """Return why the running process ``pid`` is perhaps not cut off, seen from outside."""
    process = Path("/proc") / str(pid)
    try:
        for kind in isolated.NAMESPACES:
            if os.readlink(process / "ns" / kind) == os.readlink(f"/proc/self/ns/{kind}"):
                return f"it shares the {kind} namespace of the host"
        seen = isolated.interfaces((process / "net" / "dev").read_text(encoding="ascii"))
        if seen != ["lo"]:
            return f"it sees the network interfaces {', '.join(seen) or '(none)'}"
        return isolated.rights((process / "status").read_text(encoding="utf-8"), uid, gid)
    except OSError as error:
        return f"it cannot be examined ({error.strerror})"
