"""Making a data directory out of backups: unpack and prepare files, or load a dump.

For restores and drills. A stream goes where the data are to be; nothing is copied twice. What is
*not* here: which backups (:mod:`.destination`), and the server that then runs on it
(:mod:`.private_server`).
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dbops import handles, runner
from dbops.contract import Progress
from dbops.drill import scratch
from dbops.engines.mysql import archive, client, gtid, loading, private_server, recreate, replay
from dbops.engines.mysql.backup import LOG
from dbops.engines.mysql.chain import File
from dbops.engines.mysql.destination import Destination
from dbops.engines.mysql.flavor import MARIADB, MYSQL
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.private_server import Server
from dbops.errors import CommandFailed, VerificationFailed
from dbops.manifest import Manifest
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Command

_UNPACK = "/usr/bin/mbstream"
_PREPARE = "/usr/bin/mariadb-backup"
_PACKED = ".zst"
_UNPACKED = '/usr/bin/zstd --quiet --decompress --stdout | exec "$@"'
_LEFT_BY_TOOL = ("xtrabackup_*", "mariadb_backup_*", "backup-my.cnf", "ib_buffer_pool")
_POSITIONS = ("xtrabackup_binlog_info", "mariadb_backup_binlog_info")
_INCREMENT = "increment"


def fetch_log(repo: Repository, way: Destination, folder: Path, tell: Progress) -> Path:
    """Bring the archived log on the way below ``folder``, with this host's own; return its root."""
    wanted = _on_the_way(way)
    if way.log is not None and wanted:
        repo.restore(way.log.snapshots[LOG], folder, tell, wanted)
    root = next((path for path in sorted(folder.rglob("binlog")) if path.is_dir()), None)
    if root is None:
        if way.log is not None and wanted:
            raise VerificationFailed(f"Log backup {way.log.backup_id} holds no binary log.")
        root = folder / "binlog"
        root.mkdir()
    _add_own(root, way.own)
    return root


def _on_the_way(way: Destination) -> list[str]:
    """Return which archived files the way leads over, by the ends of their paths."""
    own = {file.summary.path for file in way.own}
    listed = (file.summary.path for segment in way.chain.segments for file in segment.files)
    found: dict[str, None] = {}
    for path in listed:
        if path not in own:
            found["/".join(path.parts[-3:])] = None
            found["/".join((*path.parts[-3:-1], archive.PURGED))] = None
    return list(found)


def _add_own(root: Path, own: Sequence[File]) -> None:
    for file in own:
        place = root / file.member / "own"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.summary.path, place / file.summary.path.name)
    for file in own[:1] if own and own[0].summary.before.by_server else ():
        archive.write_purged(root / file.member / "own", file.summary.before)


def put_back(
    repo: Repository, way: Destination, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Make the empty data directory of ``at`` what the backups of ``way`` hold.

    ``limit`` bounds in seconds how long its server may take to answer, where one is needed.
    """
    _PUT_BACK[at.flavor.name](repo, way, at, work, limit, tell)


def _prepared(
    repo: Repository, way: Destination, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Unpack and prepare files: a full backup and the increments after it."""
    data_dir = at.data_dir
    for entry in way.entries:
        tell(f"restore of {entry.backup_id}")
        if entry.manifest.kind == "full":
            unpack(repo, entry, data_dir, at, tell)
            _check(prepare(data_dir, None, at), tell)
        else:
            increment = work / _INCREMENT
            make(increment, at.user)
            unpack(repo, entry, increment, at, tell)
            _check(prepare(data_dir, increment, at), tell)
            handles.remove_tree(increment)
    settle(data_dir, way.manifest)


def _loaded(
    repo: Repository, way: Destination, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Make an empty server and let it carry a dump out, accounts and all."""
    entry = way.entries[-1]
    tell(f"restore of {entry.backup_id} into an empty server")
    _check(private_server.initialize(at), tell)
    with private_server.running(at, limit), at.connect() as connection:
        # The accounts of the dump count from the next start on, which makes the cell's anew: read
        # now, they would take from this session the role that it works in.
        recreate.make(connection, loading.load(repo, entry, at, work, tell))
        if at.cell is None:
            client.rows(connection, "FLUSH LOCAL PRIVILEGES")
        here = replay.reached(connection)
    if here != gtid.parse(way.manifest.stop_point):
        raise _elsewhere(here, way.manifest)


def _check(command: Command, tell: Progress) -> None:
    """Run a tool, of which a cell bounds what it says, and so tells nothing of it on the way."""
    runner.check(command, None if command.output_bytes else tell)


def _feed(
    repo: Repository, entry: Entry, at: Server, argv: Sequence[str], title: str, tell: Progress
) -> None:
    """Feed a stored stream, as its tool wrote it, to the program ``argv``, run as the server is."""
    packed = at.flavor.streams.get(entry.manifest.kind, "")
    plain = packed.removesuffix(_PACKED)
    if packed in entry.snapshots:
        argv = ("/bin/bash", "-o", "pipefail", "-c", _UNPACKED, "unpack", *argv)
        repo.dump(entry.snapshots[packed], packed, at.tool(argv, title), tell)
    elif plain in entry.snapshots:
        repo.dump(entry.snapshots[plain], plain, at.tool(argv, title), tell)
    else:
        raise VerificationFailed(
            f"Backup {entry.backup_id} lacks its stream {packed}: was it made by {at.flavor.title}?"
        )


def _elsewhere(here: Position, manifest: Manifest) -> VerificationFailed:
    return VerificationFailed(
        f"Backup {manifest.backup_id} came back at GTID {here} and its manifest says "
        f"{manifest.stop_point}."
    )


def make(folder: Path, user: str | None) -> None:
    """Make an empty folder of the account's own; without one, root's, which others pass through."""
    with suppress(FileNotFoundError):
        handles.remove_tree(folder)
    account = pwd.getpwnam(user) if user is not None and os.geteuid() == 0 else None
    uid, gid = (account.pw_uid, account.pw_gid) if account is not None else (-1, -1)
    with handles.make(folder, uid, gid, 0o700 if user is not None else 0o711):
        pass


def unpack(repo: Repository, entry: Entry, folder: Path, at: Server, tell: Progress) -> None:
    """Unpack one stored stream into ``folder``; CommandFailed when it is not whole."""
    argv = (_UNPACK, "-x", "-C", str(folder))
    _feed(repo, entry, at, argv, f"unpacking {entry.backup_id}", tell)


def prepare(folder: Path, increment: Path | None, at: Server) -> Command:
    """Return the command that makes an unpacked backup consistent, or adds an increment to it."""
    argv = [_PREPARE, "--no-defaults", "--prepare", f"--target-dir={folder}"]
    argv += [f"--use-memory={memory_bytes()}", f"--tmpdir={folder}"]
    if increment is not None:
        argv.append(f"--incremental-dir={increment}")
    return at.tool(argv, "making the backup consistent")


def memory_bytes() -> int:
    """Return an eighth of this host's memory, which a restored server may use beside others."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(128 << 20, min(whole // 8, 8 << 30)) >> 20 << 20


def settle(data_dir: Path, manifest: Manifest) -> None:
    """See that the manifest is the backup's own, and remove what the tool left.

    What the tool noted may lack the last transaction of the manifest's position, which is exact
    (:mod:`.backup`).
    """
    found = next((data_dir / name for name in _POSITIONS if (data_dir / name).is_file()), None)
    if found is None:
        raise CommandFailed(f"Backup {manifest.backup_id} does not say which GTID it is at.")
    text = scratch.read(found).split("\t")
    noted = gtid.parse(text[2] if len(text) > 2 else "")
    if not gtid.parse(manifest.stop_point).holds(noted):
        raise _elsewhere(noted, manifest)
    for pattern in _LEFT_BY_TOOL:
        for path in data_dir.glob(pattern):
            path.unlink()


_PUT_BACK: dict[str, Callable[[Repository, Destination, Server, Path, float, Progress], None]] = {
    MARIADB.name: _prepared,
    MYSQL.name: _loaded,
}
