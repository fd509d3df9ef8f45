"""The content of the whole cluster at one moment, while it is being written.

A snapshot file is the moment: it is loaded into a private server, where nothing moves while it is
read. What is *not* here: how a key is hashed; see :mod:`.content`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dbops import handles, lock
from dbops.contract import Progress
from dbops.engines.redis import aof, client, content, options, private_server, rdb, replica, spool
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import CommandFailed
from dbops.manifest import Fingerprint
from dbops.options import require_part
from dbops.targets import Target

LIMIT_SECONDS = 6 * 3600.0
_WAIT_SECONDS = 0.1


def fingerprint(target: Target, progress: Progress) -> Sequence[Fingerprint]:
    """Return the content of the target's cluster, as its hidden replica has it now.

    Raises Busy while another one is taken: the replica has one snapshot file.
    """
    require_part(target, "repository")
    opts = options.read(target)
    with lock.hold(target, "fingerprint"):
        with client.replica(opts) as connection:
            replica.follow(opts, connection, progress)
            replica.wait_in_step(opts, connection, progress)
            file = _snapshot(opts, connection)
        head = rdb.read_head(file)
        try:
            return (of_file(opts, file, f"{head.format} at {head.position}", progress),)
        finally:
            file.unlink(missing_ok=True)


def _snapshot(opts: Options, connection: Connection) -> Path:
    """Let the replica save a snapshot and return its file."""
    before = connection.info("persistence")
    if before.get("rdb_bgsave_in_progress") == "1":
        raise CommandFailed("The replica is saving a snapshot already: run again when it has.")
    name = connection.config("dbfilename")["dbfilename"]
    connection.ask("BGSAVE")
    while True:
        found = connection.info("persistence")
        if found.get("rdb_bgsave_in_progress") == "0":
            break
        time.sleep(_WAIT_SECONDS)
    if found.get("rdb_last_bgsave_status") != "ok":
        raise CommandFailed("The replica could not save a snapshot: look at its disk and its log.")
    return opts.require_path("replica_dir") / name


def of_file(opts: Options, file: Path, point: str, progress: Progress) -> Fingerprint:
    """Return the content of one RDB file, read by a private server beside it."""
    taken_at, began = datetime.now(UTC), time.monotonic()
    with _laid_out(opts, file) as place:
        progress(f"loading {file.name} to read its content")
        with (
            private_server.start(place, LIMIT_SECONDS, tell=progress) as server,
            server.connect() as connection,
        ):
            return of_server(connection, point, taken_at, began, progress)


def of_server(
    connection: Connection,
    point: str,
    taken_at: datetime,
    began: float,
    progress: Progress,
    algorithm: str = content.ALGORITHM,
) -> Fingerprint:
    """Return the content of a private server, which nobody writes to."""
    databases, size = content.read(connection, progress, still=True, algorithm=algorithm)
    return Fingerprint(
        algorithm=algorithm,
        point=point,
        taken_at=taken_at,
        seconds=round(time.monotonic() - began, 3),
        bytes_read=size,
        databases=databases,
    )


@contextmanager
def _laid_out(opts: Options, file: Path) -> Iterator[Place]:
    """Yield a place whose data directory has ``file`` as its only base, by a hard link."""
    owner = opts.os_user if os.geteuid() == 0 else None
    stage = opts.stage_dir or file.parent
    folder = Path(tempfile.mkdtemp(prefix="load-", dir=stage))
    try:
        with spool.in_use(folder):
            yield _lay_out(opts, file, folder, owner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(opts: Options, file: Path, folder: Path, owner: str | None) -> Place:
    spool.make(folder, owner)
    base, _ = aof.lay_out(folder / aof.FOLDER, with_increment=False)
    os.link(file, base)
    if owner is not None:
        uid = pwd.getpwnam(owner).pw_uid
        with handles.folder(folder / aof.FOLDER) as place:
            place.own(f"{aof.NAME}.manifest", uid, -1, -1)
            os.fchown(place.handle, uid, -1)
    return Place(data=folder, run=folder, user=owner, options=opts)
