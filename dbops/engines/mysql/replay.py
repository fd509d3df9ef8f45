"""Replaying binary log into a server: exactly from one GTID, exactly to another, each event once.

All files of a segment go through one stream, for a session's state lives longer than a file. The
restored server writes them to a log of its own under the names they had. What is *not* here: which
files (:mod:`.chain`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dbops.contract import Progress
from dbops.engines.mysql import flavor
from dbops.engines.mysql.chain import Chain, Segment
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.flavor import MARIADB, Flavor
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.server import Server
from dbops.errors import VerificationFailed
from dbops.runner import Command, check_pipe

_PACKET = "1073741824"


def seed(connection: Connection, position: Position) -> None:
    """Begin a new binary log that goes on from ``position``, as if all before had been in it."""
    flavor.of(connection).seed(connection, position)


def reached(connection: Connection) -> Position:
    """Return how far the server is."""
    return flavor.of(connection).position(connection)


def run(
    server: Server, way: Chain, start: Position, until: Position | None, tell: Progress
) -> Position:
    """Replay ``way`` from ``start``, to ``until`` when given; return where the server stands then.

    Raises CommandFailed for what could not be replayed, VerificationFailed when it ends elsewhere.
    """
    position = start
    for segment in way.segments:
        if until is not None and position.holds(until):
            break
        files = [file.summary.path for file in segment.files]
        tell(f"replay of {len(files)} files of {segment.member} from {position or 'the beginning'}")
        left = stop(segment, until)
        source = reader(files, position, left, server.user, server.flavor)
        check_pipe(source, writer(server.socket, server.flavor), tell)
        with server.connect(30) as connection:
            position = reached(connection)
    wanted = until if until is not None else _end(way.segments, start)
    if position != wanted:
        raise VerificationFailed(
            f"The replay ended at {position or 'the beginning'} and not at {wanted}."
        )
    return position


def stop(segment: Segment, until: Position | None) -> Position | None:
    """Return where to stop within a segment's files, None to read them to their end."""
    if until is not None and (segment.until is None or segment.until.holds(until)):
        return until
    return None if segment.until == segment.files[-1].summary.after else segment.until


def _end(segments: Sequence[Segment], start: Position) -> Position:
    position = start
    for segment in segments:
        position = position.joined(segment.end)
    return position


def reader(
    files: Sequence[Path],
    start: Position,
    until: Position | None,
    user: str | None,
    kind: Flavor = MARIADB,
) -> Command:
    """Return the command that writes what is in ``files`` after ``start`` as statements."""
    argv = [kind.reader, "--no-defaults", *kind.replay(start, until)]
    return Command(
        (*argv, *(str(path) for path in files)),
        title="reading the binary log",
        user=user if os.geteuid() == 0 else None,
    )


def writer(socket: Path, kind: Flavor = MARIADB) -> Command:
    """Return the command that carries statements out; it ends at the first that fails."""
    return Command(
        (
            kind.client,
            "--no-defaults",
            f"--socket={socket}",
            "--user=root",
            "--binary-mode",
            "--default-character-set=utf8mb4",
            f"--max-allowed-packet={_PACKET}",
        ),
        title="replaying the binary log",
    )


def begin_anew(connection: Connection, position: Position, highest: Position) -> None:
    """Leave a gap in the numbers, so that what is written from now on is never taken for another.

    The history that was left behind may hold transactions that nobody has archived.
    """
    flavor.of(connection).begin_anew(connection, position, highest)
