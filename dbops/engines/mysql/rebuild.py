"""Making a data directory out of backups: unpack and prepare files, or load a dump.

For restores and drills. A stream goes where the data are to be; nothing is copied twice. What is
*not* here: which backups (:mod:`.destination`), and the server that then runs on it
(:mod:`.server`).
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dbops import runner
from dbops.contract import Progress
from dbops.engines.mysql import archive, client, gtid, replay, server
from dbops.engines.mysql.backup import LOG
from dbops.engines.mysql.chain import File
from dbops.engines.mysql.destination import Way
from dbops.engines.mysql.flavor import MARIADB, MYSQL, Flavor
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.server import Server
from dbops.errors import CommandFailed, VerificationFailed
from dbops.isolation import Cell
from dbops.manifest import Manifest
from dbops.restic import Repository
from dbops.routes import Entry
from dbops.runner import Command

_UNPACK = "/usr/bin/mbstream"
_PREPARE = "/usr/bin/mariadb-backup"
_PACKED = ".zst"
_UNPACKED = '/usr/bin/zstd --quiet --decompress --stdout | exec "$@"'
_LEFT_BY_TOOL = ("xtrabackup_*", "mariadb_backup_*", "backup-my.cnf", "ib_buffer_pool")
_POSITIONS = ("xtrabackup_binlog_info", "mariadb_backup_binlog_info")
_INCREMENT = "increment"
_PACKET = "1073741824"


def fetch_log(repo: Repository, way: Way, folder: Path, user: str, tell: Progress) -> Path:
    """Bring the archived binary log below ``folder``, with this host's own; return its root."""
    if way.log is not None:
        repo.restore(way.log.snapshots[LOG], folder, tell)
    root = next((path for path in sorted(folder.rglob("binlog")) if path.is_dir()), None)
    if root is None:
        if way.log is not None:
            raise VerificationFailed(f"Log backup {way.log.backup_id} holds no binary log.")
        root = folder / "binlog"
        root.mkdir()
    _add_own(root, way.own)
    give(folder, user)
    return root


def _add_own(root: Path, own: Sequence[File]) -> None:
    for file in own:
        place = root / file.member / "own"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.summary.path, place / file.summary.path.name)
    for file in own[:1] if own and own[0].summary.before.by_server else ():
        archive.write_purged(root / file.member / "own", file.summary.before)


def give(folder: Path, user: str) -> None:
    """Make everything below ``folder`` the account's own, when root."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def put_back(
    repo: Repository, way: Way, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Make the empty data directory of ``at`` what the backups of ``way`` hold.

    ``limit`` bounds in seconds how long its server may take to answer, where one is needed.
    """
    _PUT_BACK[at.flavor.name](repo, way, at, work, limit, tell)


def _prepared(
    repo: Repository, way: Way, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Unpack and prepare files: a full backup and the increments after it."""
    data_dir, user, cell = at.data_dir, at.user, at.cell
    for entry in way.entries:
        tell(f"restore of {entry.backup_id}")
        if entry.manifest.kind == "full":
            unpack(repo, entry, data_dir, user, tell)
            runner.check(prepare(data_dir, None, user, cell), tell)
        else:
            increment = work / _INCREMENT
            make(increment, user)
            unpack(repo, entry, increment, user, tell)
            runner.check(prepare(data_dir, increment, user, cell), tell)
            shutil.rmtree(increment)
    settle(data_dir, way.manifest)


def _loaded(
    repo: Repository, way: Way, at: Server, work: Path, limit: float, tell: Progress
) -> None:
    """Make an empty server and let it carry a dump out, accounts and all."""
    entry = way.entries[-1]
    tell(f"restore of {entry.backup_id} into an empty server")
    runner.check(server.initialize(at), tell)
    with server.running(at, limit):
        _feed(repo, entry, at.flavor, _client(at), tell)
        with at.connect(60) as connection:
            client.rows(connection, "FLUSH LOCAL PRIVILEGES")
            here = replay.reached(connection)
    if here != gtid.parse(way.manifest.stop_point):
        raise _elsewhere(here, way.manifest)


def _feed(repo: Repository, entry: Entry, kind: Flavor, consumer: Command, tell: Progress) -> None:
    """Feed a stored stream, as its tool wrote it, to ``consumer``."""
    packed = kind.streams.get(entry.manifest.kind, "")
    plain = packed.removesuffix(_PACKED)
    if packed in entry.snapshots:
        argv = ("/bin/bash", "-o", "pipefail", "-c", _UNPACKED, "unpack", *consumer.argv)
        repo.dump(entry.snapshots[packed], packed, replace(consumer, argv=argv), tell)
    elif plain in entry.snapshots:
        repo.dump(entry.snapshots[plain], plain, consumer, tell)
    else:
        raise VerificationFailed(
            f"Backup {entry.backup_id} lacks its stream {packed}: was it made by {kind.title}?"
        )


def _client(at: Server) -> Command:
    """Return the command that carries a dump out; it ends at the first statement that fails.

    The dump is text that users' definitions are part of, so whoever reads it has no rights.
    """
    argv = (
        at.flavor.client,
        "--no-defaults",
        f"--socket={at.socket}",
        f"--user={at.account}",
        "--binary-mode",
        "--local-infile=0",
        "--default-character-set=utf8mb4",
        f"--max-allowed-packet={_PACKET}",
    )
    return Command(argv, title="loading the dump")


def _elsewhere(here: Position, manifest: Manifest) -> VerificationFailed:
    return VerificationFailed(
        f"Backup {manifest.backup_id} came back at GTID {here} and its manifest says "
        f"{manifest.stop_point}."
    )


def make(folder: Path, user: str) -> None:
    """Make an empty folder of the account's own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)


def unpack(repo: Repository, entry: Entry, folder: Path, user: str, tell: Progress) -> None:
    """Unpack one stored stream into ``folder``; CommandFailed when it is not whole."""
    consumer = Command(
        (_UNPACK, "-x", "-C", str(folder)),
        title=f"unpacking {entry.backup_id}",
        user=user if os.geteuid() == 0 else None,
    )
    _feed(repo, entry, MARIADB, consumer, tell)


def prepare(folder: Path, increment: Path | None, user: str, cell: Cell | None = None) -> Command:
    """Return the command that makes an unpacked backup consistent, or adds an increment to it."""
    argv = [_PREPARE, "--no-defaults", "--prepare", f"--target-dir={folder}"]
    argv.append(f"--use-memory={memory_bytes()}")
    if increment is not None:
        argv.append(f"--incremental-dir={increment}")
    title = "making the backup consistent"
    if cell is not None:
        return cell.command(argv, title=title)
    return Command(tuple(argv), title=title, user=user if os.geteuid() == 0 else None)


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
    text = found.read_text(encoding="utf-8").split("\t")
    noted = gtid.parse(text[2] if len(text) > 2 else "")
    if not gtid.parse(manifest.stop_point).holds(noted):
        raise _elsewhere(noted, manifest)
    for pattern in _LEFT_BY_TOOL:
        for path in data_dir.glob(pattern):
            path.unlink()


_PUT_BACK: dict[str, Callable[[Repository, Way, Server, Path, float, Progress], None]] = {
    MARIADB.name: _prepared,
    MYSQL.name: _loaded,
}
