"""Following a member's binary log from the repository host, for as long as the unit runs.

``mariadb-binlog``, or ``mysqlbinlog``, writes each event as it comes, raw. Every run has a folder
of its own, so nothing that was fetched is written over, whatever a rebuilt member calls its files.
The tool takes files' names from the server, so the unit lets it write nothing but this one
member's archive. The run ends, to be started anew, when the tool has ended, no longer keeps up, or
has written what is no binary log. What is *not* here: which files are still needed
(:mod:`.archive`).
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pymysql

from dbops import targets
from dbops.engines.mysql import archive, binlog, client, flavor, options
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.errors import DbopsError, Unreachable, VerificationFailed
from dbops.runner import Command, Running, start

LOOK_SECONDS = 5.0
STALLED_SECONDS = 60.0
BEHIND_SECONDS = 300.0
_SERVER_IDS = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}\.[0-9]{6,10}")


def main(given: Sequence[str] | None = None) -> int:
    """Follow until told to stop (0), or until it cannot go on (1) and is to be started anew."""
    parser = argparse.ArgumentParser(prog="dbops-binlog")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--member", required=True)
    parser.add_argument("--targets", type=Path, default=targets.TARGETS_DIR)
    asked = parser.parse_args(given)
    try:
        target = targets.load(asked.cluster, asked.targets)
        options.require_part(target, "repository")
        return follow(options.read(target), asked.member)
    except (DbopsError, OSError, pymysql.Error) as error:
        words = client.reason(error) if isinstance(error, pymysql.Error) else str(error)
        print(words, file=sys.stderr)
        return 1
    except (LookupError, TypeError, ValueError) as error:
        print(f"{asked.member} answers what makes no sense ({error}): look there.", file=sys.stderr)
        return 1


def follow(opts: Options, member: str) -> int:
    """Fetch what ``member`` writes into a new folder below ``binlog_dir/MEMBER``."""
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: stopped.append(signum))
    file = opts.require_path("binlog_file")
    home = opts.require_path("binlog_dir") / member
    home.mkdir(mode=0o750, parents=True, exist_ok=True)
    _sweep(home)
    with client.remote(opts, file, member) as connection:
        first = first_wanted(connection, home)
        session = home / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        session.mkdir(mode=0o750)
        archive.note_purged(session, connection)
        running = start(command(opts, member, session, first), home / "log")
        try:
            return _watch(running, connection, session, stopped)
        finally:
            running.end(5)


def command(opts: Options, member: str, session: Path, first: str) -> Command:
    """Return the command that fetches from the file ``first`` on and never stops by itself."""
    file, kind = opts.require_path("binlog_file"), flavor.named(opts.flavor)
    return Command(
        (
            kind.reader,
            f"--defaults-file={file}",
            "--read-from-remote-server",
            "--raw",
            "--stop-never",
            f"--host={opts.hosts[member]}",
            f"--port={opts.port}",
            *kind.follow(server_id(session), client.credentials(file).ca or opts.ca_file),
            f"--result-file={session}/",
            first,
        ),
        title=f"the binary log of {member}",
    )


def server_id(session: Path) -> int:
    """Return an id that no server and no other puller has; every run has its own."""
    return _SERVER_IDS * 3 + zlib.crc32(str(session).encode()) % _SERVER_IDS


def first_wanted(connection: Connection, home: Path) -> str:
    """Return the file to begin with: the newest fetched, if it is still the same file there.

    The server's oldest is returned when the archive has none of its files, or another life's.
    """
    there = [_plain(row[0]) for row in client.rows(connection, "SHOW BINARY LOGS")]
    if not there:
        raise Unreachable("The member has no binary log: run provision.")
    fetched = sorted(home.glob("*/*.[0-9]*"), key=lambda p: (p.parent.name, p.name))
    for path in reversed(fetched):
        with suppress(DbopsError):
            if path.name in there and _same(connection, path):
                return path.name
    return there[0]


def _plain(name: object) -> str:
    """Return a file's name as the member says it; VerificationFailed unless it is one of a log."""
    if not _NAME.fullmatch(str(name)):
        raise VerificationFailed(f"The member calls its binary log {str(name)[:80]!r}: look there.")
    return str(name)


def _same(connection: Connection, path: Path) -> bool:
    """Tell whether the member's file of that name begins like the fetched one."""
    start = flavor.of(connection).log_start
    query = client.sql("SHOW BINLOG EVENTS IN {file} LIMIT 3", file=connection.escape(path.name))
    text = next(
        (
            str(one.get("Info"))
            for one in client.records(connection, query)
            if one.get("Event_type") == start
        ),
        None,
    )
    if text is None:
        return False
    return flavor.of(connection).beginning(text) == binlog.beginning(path)


def _sweep(home: Path) -> None:
    """Remove the folders of runs that fetched nothing."""
    for session in home.iterdir():
        if session.is_dir() and {path.name for path in session.iterdir()} <= {archive.PURGED}:
            shutil.rmtree(session)


def _watch(running: Running, connection: Connection, session: Path, stopped: list[int]) -> int:
    seen, moved = -1, time.monotonic()
    least, nearer = sys.maxsize, time.monotonic()
    looked: dict[Path, int] = {}
    while not stopped:
        _rest(LOOK_SECONDS, running, stopped)
        if stopped:
            break
        if not running.alive():
            print(f"The reader has ended: {_last_words(session.parent / 'log')}", file=sys.stderr)
            return 1
        missing, fetched = _missing(connection, session)
        if not missing or fetched != seen:
            seen, moved = fetched, time.monotonic()
        if not missing or missing < least:
            least, nearer = missing or sys.maxsize, time.monotonic()
        still, behind = time.monotonic() - moved, time.monotonic() - nearer
        words = _trouble(session, still, behind, looked)
        if words is not None:
            print(words, file=sys.stderr)
            return 1
    return 0


def _trouble(session: Path, still: float, behind: float, looked: dict[Path, int]) -> str | None:
    """Return why to begin anew. The tool goes on after a full disk, without what it lost there.

    ``looked`` says how far each file was found sound.
    """
    if still > STALLED_SECONDS:
        return f"Nothing came for {STALLED_SECONDS:.0f} s although there is more."
    if behind > BEHIND_SECONDS:
        return f"For {BEHIND_SECONDS:.0f} s the files here lack something: they are fetched anew."
    found = sorted(path for path in session.iterdir() if path.name != archive.PURGED)
    strange = [path.name for path in found if not _NAME.fullmatch(path.name)]
    if strange:
        return f"The member named a file {strange[0][:80]!r}: look there."
    headless = [path.name for path in found if not binlog.begun(path)]
    if headless:
        return f"{headless[0]} lacks its beginning: it is fetched anew."
    try:
        for path in found:
            looked[path] = binlog.sound(path, looked.get(path, 0))
    except VerificationFailed as error:
        return f"{error} It is fetched anew."
    return None


def _rest(seconds: float, running: Running, stopped: list[int]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopped and running.alive():
        time.sleep(0.2)


def _missing(connection: Connection, session: Path) -> tuple[int, int]:
    """Return how much of the file that the member writes is not here, and how much was fetched."""
    row = client.rows(connection, flavor.of(connection).log_end)[0]
    path = session / _plain(row[0])
    fetched = sum(one.stat().st_size for one in session.iterdir())
    here = path.stat().st_size if path.exists() else 0
    return max(0, int(row[1]) - here), fetched


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


if __name__ == "__main__":
    sys.exit(main())
