"""Making a data directory out of a backup: fetched, cut at a time, checked.

It always becomes a whole set of append-only files. An RDB file alone would be ignored by a server
with ``appendonly yes`` and an empty append-only folder: it starts empty and says nothing.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dbops import handles, runner
from dbops.contract import Progress
from dbops.engines.redis import aof, catalogue, position, private_server, rdb
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import VerificationFailed
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Command

_CHECK_SECONDS = 6 * 3600.0
_FIRST_STAMP = re.compile(rb"#TS:(\d+)\r\n")
_DAMAGE = re.compile(r"RDB ERROR DETECTED|is not valid|Unexpected|error|Bad file format", re.I)


def fetch(
    repo: Repository, way: Destination, data_dir: Path, user: str | None, progress: Progress
) -> int:
    """Write the files of ``way`` into an empty data directory and return their bytes."""
    base, increment = aof.lay_out(data_dir / aof.FOLDER, with_increment=way.log is not None)
    size = _write(repo, way.full, catalogue.BASE, base, progress)
    if way.log is not None:
        size += _write(repo, way.log, catalogue.LOG, increment, progress)
    if way.until is not None and way.log is not None:
        _drop_later_log(data_dir, increment, way.until)
    own(data_dir, user)
    return size


def _write(repo: Repository, entry: Entry, name: str, path: Path, progress: Progress) -> int:
    """Let restic write one stream to a file and see that it is as long as it was."""
    progress(f"fetching {name} of {entry.backup_id}")
    writing = Command(("dd", f"of={path}", "bs=1M", "status=none"), title="writing the data")
    repo.dump(entry.snapshots[name], name, writing, progress)
    size = path.stat().st_size
    if size != entry.manifest.bytes_read:
        raise VerificationFailed(
            f"{name} of {entry.backup_id} came back with {size} bytes and had "
            f"{entry.manifest.bytes_read}."
        )
    return size


def own(data_dir: Path, user: str | None, linked: bool = True) -> None:
    """Give everything in the data directory to ``user``, closed to all others.

    Its files may have further names elsewhere if they are ``linked``.
    """
    account = pwd.getpwnam(user) if user is not None else None
    ids = (account.pw_uid, account.pw_gid) if account is not None else (-1, -1)
    handles.give(data_dir, *ids, modes=(0o700, 0o600), linked=linked)


def _drop_later_log(data_dir: Path, increment: Path, until: datetime) -> None:
    """Leave the log out when all of it is later: the check tool refuses to cut off everything."""
    with increment.open("rb") as file:
        match = _FIRST_STAMP.match(file.read(32))
    if increment.stat().st_size == 0 or (match and int(match[1]) > until.timestamp()):
        increment.unlink()
        manifest = data_dir / aof.FOLDER / f"{aof.NAME}.manifest"
        lines = manifest.read_text(encoding="ascii").splitlines(keepends=True)
        manifest.write_text(lines[0], encoding="ascii")


def cut(
    opts: Options, data_dir: Path, until: datetime, run: Callable[[Command], runner.Completed]
) -> str:
    """Cut the log after the second of ``until``; return what the tool said about it."""
    manifest = data_dir / aof.FOLDER / f"{aof.NAME}.manifest"
    argv = (
        str(opts.tool("check-aof")), "--truncate-to-timestamp", str(int(until.timestamp())),
        str(manifest),
    )  # fmt: skip
    return _judge(Command(argv, title="check-aof", timeout_seconds=_CHECK_SECONDS), run)


def check(opts: Options, data_dir: Path, run: Callable[[Command], runner.Completed]) -> str:
    """Let the server's own tool read every file; VerificationFailed with its complaint."""
    manifest = data_dir / aof.FOLDER / f"{aof.NAME}.manifest"
    argv = (str(opts.tool("check-aof")), str(manifest))
    return _judge(Command(argv, title="check-aof", timeout_seconds=_CHECK_SECONDS), run)


def _judge(command: Command, run: Callable[[Command], runner.Completed]) -> str:
    done = run(command)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.status == 0 and lines and lines[-1] == "All AOF files and manifest are valid":
        return lines[-1]
    grave = [line for line in lines if _DAMAGE.search(line)] or lines or ["it wrote nothing"]
    raise VerificationFailed(f"The data are damaged, check-aof says: {grave[0].rstrip('.')}.")


def same_base(data_dir: Path, entry: Entry) -> None:
    """Raise VerificationFailed when the base is not the one that the manifest describes."""
    found = aof.read(data_dir).base
    head = rdb.read_head(found)
    wanted = position.base(entry.manifest)
    if head.format != wanted.format or not wanted.base_id.endswith(
        f"-{head.made_at}-{found.stat().st_size}"
    ):
        raise VerificationFailed(
            f"The stored base of {entry.backup_id} is not the one that its manifest describes."
        )


def to_snapshot(opts: Options, data_dir: Path, user: str | None) -> None:
    """Make an RDB file of the append-only files, at which a cache would not look, and drop them."""
    place = Place(data=data_dir, run=data_dir, user=user, options=opts)
    with (
        private_server.start(place, opts.restore_time_limit_seconds) as server,
        server.connect() as asked,
    ):
        asked.ask("CONFIG", "SET", "appendonly", "no")
        asked.ask("SAVE")
    for path in (place.log, place.socket, *(data_dir / aof.FOLDER).iterdir()):
        path.unlink(missing_ok=True)
    (data_dir / aof.FOLDER).rmdir()
