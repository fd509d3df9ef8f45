"""What the suite that every engine passes asks of an engine's hosts: its hooks, by fault and verb.

A hook that an engine does not override does what needs no knowledge of it, or nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from lab import faults
from tests.e2e import hosts
from tests.e2e.hosts import Play, wait


class Site(hosts.Site):
    """One engine's hosts with what the common suite does to them.

    ``data`` is the pattern of a member's data directory, ``ports`` those that members and the
    repository listen on, ``program`` the server's name, also inside a drill's cell. ``held`` are
    the files with a password in plain that the server's own group may read. ``told`` is what
    ``--check --diff`` says of :meth:`drift`. ``tear`` is a shell script for the repository host
    that waits until a full backup is half way, kills it and prints ``torn``. ``alone`` tells
    whether a member without its replica takes writes while :meth:`lossless` is in force.
    """

    data: str = ""
    program: str = ""
    ports: tuple[int, int] = (0, 22)
    held: frozenset[str] = frozenset()
    told: tuple[str, ...] = ()
    tear: str = ""
    alone: bool = True

    def replica(self) -> str:
        """Return the other member."""
        primary = self.primary()
        return next(host for host in self.members if host != primary)

    def wait_whole(self, seconds: float = 90) -> None:
        """Wait until there is one primary that everybody follows."""
        wait(self.whole, seconds, "one primary that all follow")

    def confirmed(self, verb: str, *extra: str, ok: bool = True) -> Play:
        """Run a playbook that asks for the cluster's name, with the right answer."""
        return self.run_play(verb, "-e", f"dbops_confirm={self.cluster}", *extra, ok=ok)

    # Backups

    def fulls(self) -> list[str]:
        """Return the ids of the listed full backups, oldest first."""
        return [one["backup_id"] for one in self.backups() if one["kind"] == "full"]

    @abstractmethod
    def store_log(self) -> None:
        """Have everything that was written until now in the repository."""

    def switch_log(self) -> None:
        """Let the members begin a new file of the log, where there are such files."""

    def no_hole(self) -> None:
        """Assert that no check of the repository host finds a hole in the log."""
        found = [one for one in self.checks(self.repository) if "hole" in one["name"]]
        assert all(one["ok"] for one in found), found

    def quiet(self) -> AbstractContextManager[None]:
        """Let no scheduled log backup come between while the block runs."""
        return nullcontext()

    @abstractmethod
    def small_repository(self) -> AbstractContextManager[str]:
        """Have the repository on a small disk while the block runs; gives its folder."""

    @abstractmethod
    def flipped(self) -> AbstractContextManager[str]:
        """Flip one bit of the newest backup while the block runs; gives the damaged file's name."""

    # Members

    def set_aside(self, host: str) -> list[str]:
        """Return the data directories that restores have kept on ``host``."""
        return self.root(host, f"ls -d {self.data}.set-aside-* || true", ok=False).split()

    def data_identity(self, host: str) -> str:
        """Return what a data directory that was replaced would not keep."""
        return self.root(host, f"stat -c %i {self.data}")

    def pid(self, host: str) -> str:
        """Return the server's main process on ``host``, "0" when there is none."""
        service = self.settings(host)["options"]["service"]
        return self.root(host, f"systemctl show -p MainPID --value {service}")

    def kill_server(self, host: str) -> None:
        """Kill the server of ``host`` without warning, and see that it runs again."""
        former = self.pid(host)
        assert former != "0", f"no server runs on {host}"
        self.root(host, f"kill -9 {former}")
        service = self.settings(host)["options"]["service"]

        def back() -> bool:
            # Not every unit starts its server again by itself.
            state = self.root(host, f"systemctl is-failed {service} || true", ok=False)
            if state == "failed":
                self.server(host, "start")
            return self.pid(host) not in ("0", former)

        wait(back, 60, f"the server on {host} is back")

    def lossless(self) -> AbstractContextManager[None]:
        """Let no write be acknowledged that the replica lacks, where the engine can do that."""
        return nullcontext()

    @abstractmethod
    def promote(self, dead: str) -> None:
        """Have the other member take writes after the host ``dead`` has gone."""

    def rejoin(self, host: str) -> None:
        """Let the host of a former primary, which runs again, follow the new one."""

    # Drift

    @abstractmethod
    def drift(self) -> None:
        """Change by hand, on every host, what ``site.yml`` declares."""

    def forget(self) -> None:
        """Remove what :meth:`drift` made and ``site.yml`` only disarms."""

    def armed(self) -> str:
        """Return which accounts made by hand may still log in; "" when none may."""
        return ""


@contextmanager
def bit_flipped(site: hosts.Site, host: str, file: str) -> Iterator[None]:
    """Flip one bit in the middle of ``file`` while the block runs, its time as it was."""
    script = (
        "import sys; f = open(sys.argv[1], 'r+b'); f.seek(0, 2); p = f.tell() // 2; f.seek(p); "
        "b = f.read(1); f.seek(p); f.write(bytes([b[0] ^ 4]))"
    )
    flip = (
        f"touch -r {file} /run/kept.time; chmod u+w {file}; "
        f'python3 -c "{script}" {file}; touch -r /run/kept.time {file}'
    )
    faults.on(site.lab, host, flip)
    try:
        yield
    finally:
        faults.on(site.lab, host, flip)
