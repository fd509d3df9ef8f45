"""A new base of the hidden replica, read while the replica is still writing it.

The file is linked as soon as it appears, so it cannot vanish, and a reader follows it to its end.
Whether it really became the replica's new base is seen when the replica has ended; only then is the
reader told that what it has is whole.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbops import files
from dbops.engines.redis import aof, catalogue, rdb, replica, stream
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.engines.redis.rdb import Head
from dbops.engines.redis.spool import Spool, make
from dbops.errors import VerificationFailed
from dbops.repository import routes
from dbops.runner import Command

_TEMPORARY = "temp-rewriteaof-*.aof"
_MARKER = "complete"
_VERDICT = "damage"


@dataclass(frozen=True)
class Base:
    """A complete base of the replica, linked so that it cannot vanish."""

    backup_id: str
    member: str
    path: Path
    base_id: str
    head: Head
    start: datetime
    stop: datetime


class Rewriting:
    """A rewrite that was begun; leaving the block waits for whoever watches it."""

    def __init__(self, opts: Options, connection: Connection, member: str) -> None:
        self._opts, self._connection, self._member = opts, connection, member
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._start = datetime.now(UTC)
        known = set(self._temporary())
        self._stop, self._mark = replica.begin_rewrite(connection)
        self.backup_id = routes.new_id("full", self._stop)
        self._place = Spool(opts.require_path("stage_dir") / self.backup_id)
        make(self._place.folder, account(opts))
        self._path = self._place.folder / catalogue.BASE
        self._marker = self._place.folder / _MARKER
        self._verdict = self._place.folder / _VERDICT
        for left in (self._path, self._marker, self._verdict):
            left.unlink(missing_ok=True)
        self._link(known)

    def __enter__(self) -> Rewriting:
        return self

    def __exit__(self, *about: object) -> None:
        self._over.set()
        self._pool.shutdown(wait=True)

    def _temporary(self) -> Iterable[Path]:
        return self._opts.require_path("replica_dir").glob(_TEMPORARY)

    def _link(self, known: set[Path]) -> None:
        """Link the file that is being written; a small one may be complete before it is seen."""
        while replica.rewriting(self._connection):
            for path in set(self._temporary()) - known:
                try:
                    os.link(path, self._path)
                except FileNotFoundError:
                    continue
                return
            time.sleep(0.01)

    def producer(self) -> Command:
        """Return the command that writes the base to its end, or fails if it has none.

        The server's own tool reads it at the same time; :meth:`refuse_damage` says what it found.
        """
        while not self._path.exists() and not self._marker.exists():
            time.sleep(0.01)
        argv = (
            sys.executable, "-I", str(Path(stream.__file__)),
            "--growing", str(self._path), str(self._marker), str(self._verdict),
            str(self._opts.tool("check-rdb")),
        )  # fmt: skip
        return Command(argv, title="reading the base", user=account(self._opts))

    def refuse_damage(self) -> None:
        """Raise VerificationFailed when the producer failed because the base is damaged."""
        if self._verdict.exists():
            said = self._verdict.read_text(encoding="utf-8").rstrip(".")
            raise VerificationFailed(f"The replica's base is damaged, check-rdb says: {said}.")

    def watch(self, linked: Sequence[Spool]) -> Future[Base]:
        """Wait for the end beside the reader; ``linked`` hold the log that the new base ends."""
        return self._pool.submit(self._close, linked)

    def _close(self, linked: Sequence[Spool]) -> Base:
        said = ""
        try:
            replica.end_rewrite(self._connection, self._mark, self._over.is_set)
            base = self._complete()
            if linked and replica.out_of_step(self._connection) is None:
                for spool in linked:
                    spool.goes_on(base.base_id)
            said = str(base.path.stat().st_size)
        finally:
            files.write(self._marker, said, shared=True)
        return base

    def _complete(self) -> Base:
        found = aof.read(self._opts.require_path("replica_dir"))
        if not self._path.exists():
            os.link(found.base, self._path)
        if not self._path.samefile(found.base):
            raise VerificationFailed(
                "The file that was stored is not the replica's new base: run again."
            )
        base_id = found.base_id()
        self._place.begin(base_id, account(self._opts))
        head = rdb.read_head(self._path)
        return Base(
            self.backup_id, self._member, self._path, base_id, head, self._start, self._stop
        )


def account(opts: Options) -> str | None:
    """Return the account that the replica's files belong to, None when it is the present one."""
    return opts.os_user if os.geteuid() == 0 else None
