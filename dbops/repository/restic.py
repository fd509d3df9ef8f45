"""restic: one encrypted repository for the engines that have no backup tool with one of its own.

What is here: the restic commands that the kit runs. What is *not* here: what restic prints
(:mod:`.restic_output`), reading all of it back (:mod:`.restic_check`) and what the snapshots mean
(:mod:`.catalogue`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dbops.contract import Progress
from dbops.errors import CommandFailed, DbopsError, Refused
from dbops.repository.restic_memory import Memory
from dbops.repository.restic_output import (
    Listing,
    Snapshot,
    absent,
    failure,
    locked,
    parse_listing,
    reporter,
    summary,
)
from dbops.runner import Command, Completed, OnLine, capture, check, explain, pipe
from dbops.targets import read_secret

__all__ = ["Compression", "Repository", "Saved", "Snapshot"]

Compression = Literal["auto", "off", "max"]
LOCK_WAIT_SECONDS = 120.0
FORGET_WAIT_SECONDS = 2.0
MAX_UNUSED = "25%"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Saved:
    """What one run stored: the snapshot, what was read and what it took in the repository."""

    snapshot_id: str
    bytes_read: int
    bytes_stored: int


def _plain(path: str) -> str:
    """Return a pattern that means this very path."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def _quiet(text: str) -> None:
    """Tell nobody."""


def altered(path: Path) -> bool:
    """Tell whether a file that is named by the digest of its content no longer holds it.

    restic writes a file under another name (``<digest>-tmp-<number>``) and renames it when it is
    whole; it reads only those named by a digest, so no other counts.
    """
    if not _DIGEST.fullmatch(path.name):
        return False
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() != path.name
    except FileNotFoundError:
        return False
    except OSError:
        return True


@dataclass(frozen=True)
class Repository:
    """One restic repository, here (a path) or elsewhere (``sftp:account@host:/path``).

    ``password_file`` holds the passphrase, mode 0600. ``user`` is the account that restic runs as
    when dbops is root. No cache is kept: what a restore or a drill reads is the repository itself.
    ``ssh_key`` and ``known_hosts`` belong to SFTP; ``sftp_command`` stands in for ssh altogether.
    ``read_only`` takes no lock and refuses whatever writes. ``memory_file`` is where what was
    listed is kept for the next run, which need not list it again.
    """

    location: str
    password_file: Path
    user: str | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    read_only: bool = False
    sftp_command: str | None = None
    memory_file: Path | None = None
    _memory: Memory = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_memory", Memory(self.folder, self.memory_file))

    @property
    def folder(self) -> Path | None:
        """Where the repository stands on this host, None when it is elsewhere."""
        return Path(self.location) if self.location.startswith("/") else None

    def command(self, verb: str, *arguments: str, timeout_seconds: float | None = None) -> Command:
        """Return the command ``restic <verb>``. Nothing secret is in it."""
        return Command(
            argv=("restic", "--repo", self.location, "--no-cache", *self._sftp(), verb, *arguments),
            title=f"restic {verb}",
            user=self.user if os.geteuid() == 0 else None,
            env={
                "RESTIC_PASSWORD_FILE": str(self.password_file),
                "RESTIC_PROGRESS_FPS": "0.2",
            },
            timeout_seconds=timeout_seconds,
        )

    def _sftp(self) -> tuple[str, ...]:
        if not self.location.startswith("sftp:"):
            return ()
        return ("-o", f"sftp.command={self.sftp_command or self._ssh()}")

    def _ssh(self) -> str:
        # One spelling for every version: sftp.args came later than the restic of Debian 12.
        address = self.location.removeprefix("sftp:").rpartition(":")[0]
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "20",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
        }
        if self.known_hosts is not None:
            options |= {"UserKnownHostsFile": str(self.known_hosts), "GlobalKnownHostsFile": "none"}
        argv = ["ssh", *(f"-o{name}={value}" for name, value in options.items())]
        if self.ssh_key is not None:
            argv += ["-i", str(self.ssh_key)]
        return shlex.join([*argv, address, "-s", "sftp"])

    def run(
        self, verb: str, *arguments: str, on_line: OnLine | None = None, limit: float | None = None
    ) -> Completed:
        """Run ``restic <verb>`` to a good end; raise its error in one sentence.

        What is read takes no lock, so it waits for nobody; only what writes does.
        """
        done = capture(self._checked(verb, *arguments, timeout_seconds=limit), on_line)
        if done.status != 0:
            raise self.failure(done, verb)
        return done

    def failure(self, done: Completed, verb: str) -> DbopsError:
        """Return the error that a failed ``restic <verb>`` stands for."""
        for path in sorted((self.folder / "keys").glob("*")) if self.folder is not None else ():
            # restic takes a damaged key for a wrong passphrase.
            if altered(path):
                return CommandFailed(
                    f"The key {path} is damaged, and without it nothing can be decrypted: "
                    "put back a copy of it."
                )
        return failure(done, verb, self.location, self.password_file)

    def _checked(self, verb: str, *arguments: str, timeout_seconds: float | None = None) -> Command:
        read_secret(self.password_file)
        return self.command(verb, *arguments, timeout_seconds=timeout_seconds)

    def _writing(self, run: Callable[[], Completed], wait_seconds: float) -> Completed:
        """Run what takes restic's lock; clear locks of killed runs, wait for those that live."""
        if self.read_only:
            raise Refused(f"The repository {self.location} is only read from this host.")
        end = time.monotonic() + wait_seconds
        done = run()
        while locked(done):
            late = time.monotonic() > end
            # This removes only what a process that is no more has left, or one long silent.
            capture(self.command("unlock", timeout_seconds=60))
            done = run()
            if late:
                break
            time.sleep(1)
        return done

    def init(self) -> bool:
        """Make the repository; return False when it is there already and opens.

        Its files are readable by the group of its folder, for readers by SFTP.
        """
        if self.exists():
            return False
        command = self._checked("init", timeout_seconds=120)
        done = self._writing(lambda: capture(command), 0)
        if done.status != 0:
            raise self.failure(done, "init")
        if self.folder is not None:
            # restic gives new files the group's access that it finds on "config".
            user = command.user
            check(Command(("chmod", "-R", "g+rX,o=", str(self.folder)), user=user))
        return True

    def exists(self) -> bool:
        """Tell whether a repository is there; ConfigError when the passphrase does not open it."""
        command = self._checked("cat", "config", "--no-lock", timeout_seconds=120)
        done = capture(command)
        if done.status == 0:
            return True
        if absent(done):
            return False
        raise self.failure(done, "cat config")

    def version(self) -> str:
        """Return restic's version, such as ``0.14.0``, for manifests."""
        said = check(Command(("restic", "version"), timeout_seconds=30)).stdout.split()
        return said[1] if len(said) > 1 else "unknown"

    def listing(self, tag: str | None = None) -> Listing:
        """Return the snapshots, all or those that carry ``tag``, and those that are damaged."""
        if tag is not None or self.folder is None:
            chosen = () if tag is None else ("--tag", tag)
            return parse_listing(self.run("snapshots", "--json", "--no-lock", *chosen, limit=600))
        return self._memory.listed(
            lambda: parse_listing(self.run("snapshots", "--json", "--no-lock", limit=600))
        )

    def snapshots(self, tag: str | None = None) -> tuple[Snapshot, ...]:
        """Return every readable snapshot, oldest first, or those that carry ``tag``."""
        return self.listing(tag).snapshots

    def _backup(
        self, *arguments: str, tags: Sequence[str], compression: Compression = "auto"
    ) -> Command:
        marked = [part for tag in tags for part in ("--tag", tag)]
        ways = ("--json", "--compression", compression)
        return self._checked("backup", *ways, *marked, *arguments)

    def save_stream(
        self,
        producer: Command,
        name: str,
        tags: Sequence[str] = (),
        progress: Progress = _quiet,
        compression: Compression = "auto",
    ) -> Saved:
        """Store what ``producer`` writes on its standard output as the file ``name``.

        restic is told of the end only when the producer has ended with a good status, so a torn
        stream makes no snapshot. ``progress`` is told every line of the producer's standard error.
        ``compression`` is restic's: ``off`` for a stream that is compressed when restic meets it.
        Raises CommandFailed with the words of whichever failed.
        """
        command = self._backup(
            "--stdin", "--stdin-filename", name, tags=tags, compression=compression
        )
        fed: list[Completed] = []

        def run() -> Completed:
            left, right = pipe(producer, command, reporter(progress))
            fed[:] = [left]
            return right

        before = self._bytes_on_disk()
        done = self._writing(run, LOCK_WAIT_SECONDS)
        if done.ended or (done.status == 0 and fed[0].status not in producer.ok_statuses):
            self._disown(done)
            raise CommandFailed(explain(producer, fed[0]))
        return self._saved(done, before, tags, (f"/{name}",))

    def save_text(self, text: str, name: str, tags: Sequence[str] = ()) -> Saved:
        """Store ``text`` in UTF-8 as the file ``name``."""
        saved = self.save_stream(Command(("cat",), stdin=text), name, tags)
        self._memory.write(saved.snapshot_id, name, text)
        return saved

    def save_paths(
        self, paths: Sequence[Path], tags: Sequence[str] = (), progress: Progress = _quiet
    ) -> Saved:
        """Store files and folders under their own absolute paths; a file unread fails it all."""
        absent_ones = [str(path) for path in paths if not os.path.lexists(path)]
        if absent_ones:
            raise CommandFailed(f"{', '.join(absent_ones)}: absent, so nothing was stored.")
        command = self._backup(*(str(path) for path in paths), tags=tags)
        before = self._bytes_on_disk()
        tell = reporter(progress)
        done = self._writing(lambda: capture(command, tell), LOCK_WAIT_SECONDS)
        return self._saved(done, before, tags, tuple(str(path) for path in paths))

    def _saved(
        self, done: Completed, before: int | None, tags: Sequence[str], paths: tuple[str, ...]
    ) -> Saved:
        told = summary(done)
        if done.status != 0:
            self._disown(done)
            raise self.failure(done, "backup")
        if told is None:
            raise CommandFailed("restic backup ended well and yet told of no snapshot.")
        after = self._bytes_on_disk()
        grown = None if before is None or after is None else max(0, after - before)
        # Before 0.17 restic tells only what it added before compression.
        stored = told.get("data_added_packed", told["data_added"] if grown is None else grown)
        snapshot_id = self._full_id(str(told["snapshot_id"]))
        self._memory.note(Snapshot(snapshot_id, datetime.now(UTC), tuple(tags), paths))
        return Saved(
            snapshot_id=snapshot_id,
            bytes_read=int(told["total_bytes_processed"]),
            bytes_stored=int(stored),
        )

    def _disown(self, done: Completed) -> None:
        """Forget the snapshot that a failed run may have made all the same."""
        told = summary(done)
        if told is not None:
            self.forget([self._full_id(str(told["snapshot_id"]))])

    def _full_id(self, short: str) -> str:
        if self.folder is not None:
            found = [path.name for path in (self.folder / "snapshots").glob(f"{short}*")]
        else:
            found = [s.snapshot_id for s in self.snapshots() if s.snapshot_id.startswith(short)]
        if len(found) != 1:
            raise CommandFailed(f"restic told of the snapshot {short} and does not list it.")
        return found[0]

    def _bytes_on_disk(self) -> int | None:
        if self.folder is None:
            return None
        total = 0
        for path in (self.folder / "data").glob("*/*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def dump(
        self, snapshot_id: str, name: str, consumer: Command, progress: Progress = _quiet
    ) -> Completed:
        """Feed the stored file ``name`` to the standard input of ``consumer``; return what it said.

        ``name`` is that of :meth:`save_stream`, or an absolute path of :meth:`save_paths`. The
        consumer is told of the end only when restic has read all of it soundly, and is killed
        otherwise. Raises CommandFailed with the words of whichever failed.
        """
        command = self._checked("dump", "--no-lock", snapshot_id, f"/{name.lstrip('/')}")
        left, right = pipe(command, consumer, reporter(progress))
        if right.status not in consumer.ok_statuses and not right.ended:
            raise CommandFailed(explain(consumer, right))
        if left.status != 0:
            raise self.failure(left, f"dump of {name}")
        return right

    def read_text(self, snapshot_id: str, name: str) -> str:
        """Return the stored file ``name`` as text."""
        stored = f"/{name.lstrip('/')}"
        return self._memory.read(
            snapshot_id, name, lambda: self.run("dump", "--no-lock", snapshot_id, stored).stdout
        )

    def restore(
        self, snapshot_id: str, folder: Path, progress: Progress = _quiet, only: Sequence[str] = ()
    ) -> None:
        """Write everything in a snapshot below ``folder``, as root with its owners and modes.

        A file that was saved as ``/a/b`` comes to ``folder/a/b``, a stream to ``folder/name``.
        ``only`` are the ends of the paths that are wanted, if not all are.
        """
        wanted = [f"--include={_plain(path)}" for path in only]
        command = ("restore", "--no-lock", snapshot_id, "--target", str(folder), *wanted)
        done = self.run(*command, on_line=reporter(progress))
        if "ignoring error" in done.stderr:
            raise self.failure(done, "restore")

    def forget(self, snapshot_ids: Iterable[str]) -> bool:
        """Let go of snapshots; those gone already are no error. Their data stay until a prune.

        Returns False, having changed nothing, when another run keeps the repository locked.
        """
        going = self._there(snapshot_ids)
        if not going:
            return True
        command = self._checked("forget", *going, timeout_seconds=600)
        done = self._writing(lambda: capture(command), FORGET_WAIT_SECONDS)
        if locked(done):
            return False
        left = self._there(going)
        if left:
            raise self.failure(done, f"forget of {', '.join(i[:8] for i in left)}")
        self._memory.forget(going)
        return True

    def _there(self, snapshot_ids: Iterable[str]) -> list[str]:
        if self.folder is not None:
            listed = {path.name for path in (self.folder / "snapshots").glob("*")}
        else:
            listed = {snapshot.snapshot_id for snapshot in self.snapshots()}
        return [i for i in dict.fromkeys(snapshot_ids) if i in listed]

    def prune(self, progress: Progress = _quiet) -> None:
        """Remove what no snapshot needs. Raises Busy when another run keeps it locked.

        Up to a quarter of unneeded bytes may stay: rewriting files for them would make every
        other run wait.
        """
        command = self._checked("prune", "--max-unused", MAX_UNUSED)
        tell = reporter(progress)
        done = self._writing(lambda: capture(command, tell), FORGET_WAIT_SECONDS)
        if done.status != 0:
            raise self.failure(done, "prune")
