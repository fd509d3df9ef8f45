"""Replaying binary log into a server: exactly from one GTID, exactly to another, each event once.

The server's own SQL thread applies it, out of relay log files that hold nothing else: a statement
is never text to be taken apart a second time. All files of a segment go through one replay, for a
session's state lives longer than a file. The restored server writes them to a log of its own under
the names they had. What is *not* here: which files (:mod:`.chain`), the relay files
(:mod:`.relay`), and the statements that the two flavours want (:mod:`.applying`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from dbops.contract import Progress
from dbops.engines.mysql import applying, events, flavor, relay, scheduled, volatile
from dbops.engines.mysql.applying import Applier
from dbops.engines.mysql.chain import Chain, Segment
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.private_server import Server
from dbops.engines.mysql.relay import Written
from dbops.errors import CommandFailed, VerificationFailed

_LOOK_SECONDS = (0.02, 0.5)
_TELL_SECONDS = 15.0
_WORDS = 400
_HIGHEST_SERVER = 4294967295


def seed(connection: Connection, position: Position) -> None:
    """Begin a new binary log that goes on from ``position``, as if all before had been in it.

    MEMORY tables are opened before: MySQL logs that it empties them whatever it is told.
    """
    volatile.hush(connection)
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
    with server.connect() as connection:
        stood = volatile.stand_in(connection)
    position = start
    for segment in way.segments:
        if until is not None and position.holds(until):
            break
        files = [file.summary.path for file in segment.files]
        tell(f"replay of {len(files)} files of {segment.member} from {position or 'the beginning'}")
        try:
            position = _replay(server, segment, position, stop(segment, until), tell)
        except CommandFailed as error:
            raise volatile.lost(error, stood) from None
    wanted = until if until is not None else _end(way.segments, start)
    if position != wanted:
        raise VerificationFailed(
            f"The replay ended at {position or 'the beginning'} and not at {wanted}."
        )
    with server.connect() as connection:
        volatile.put_back(connection, stood)
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


def _replay(
    server: Server, segment: Segment, start: Position, until: Position | None, tell: Progress
) -> Position:
    """Let the server apply a segment's files; return where it stands then."""
    files = [file.summary.path for file in segment.files]
    writers = {run.server for file in segment.files for run in file.summary.runs}
    with server.cleared() as place:
        written = relay.write(files, start, until, place, server.user)
        with server.connect() as connection:
            kind = applying.of(connection)
            before = scheduled.states(connection) if written.scheduling else {}
            if written.names:
                _apply(connection, kind, written, _stranger(writers), tell)
            after = scheduled.followed(before, written.scheduling)
            scheduled.mend(connection, after, events.switch)
            return reached(connection)


def _stranger(writers: set[int]) -> int:
    """Return a number that none of the log's writers has: a server skips what bears its own."""
    return next(n for n in range(_HIGHEST_SERVER, 0, -1) if n not in writers)


def _apply(
    connection: Connection, kind: Applier, written: Written, number: int, tell: Progress
) -> None:
    """Apply relay files to their end and leave nothing of it behind."""
    former = kind.begin(connection, number, written.names[0])
    try:
        _wait(connection, kind, written, tell)
    finally:
        kind.end(connection, former)


def _wait(connection: Connection, kind: Applier, written: Written, tell: Progress) -> None:
    pause, told, idle = _LOOK_SECONDS[0], time.monotonic(), 0
    while True:
        now = kind.look(connection)
        if now.error:
            raise CommandFailed(f"replaying the binary log failed: {now.error[:_WORDS]}")
        if now.done.holds(written.last):
            return
        idle = idle + 1 if now.idle else 0
        if idle > 1 or not now.running:
            raise VerificationFailed(
                f"The server read all of the log and stands at {now.done or 'the beginning'}, not "
                f"at {written.last}."
            )
        if time.monotonic() > told + _TELL_SECONDS:
            told = time.monotonic()
            tell(f"replayed up to {now.done}, of {written.last}")
        time.sleep(pause)
        pause = min(_LOOK_SECONDS[1], pause * 1.5)


def begin_anew(connection: Connection, position: Position, highest: Position) -> None:
    """Leave a gap in the numbers, so that what is written from now on is never taken for another.

    The history that was left behind may hold transactions that nobody has archived.
    """
    flavor.of(connection).begin_anew(connection, position, highest)
