"""From the replay until the restored server is proven: replay, verify, begin anew, start."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pymysql

from dbops import files
from dbops.contract import Progress
from dbops.engines.mysql import client, flavor, heartbeat, members, private_server, refill, replay
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.destination import Work
from dbops.engines.mysql.options import Options
from dbops.engines.mysql.private_server import Server
from dbops.errors import CommandFailed, DbopsError, Refused, Unreachable, VerificationFailed
from dbops.restore import set_aside
from dbops.runner import Action, Command, Step
from dbops.targets import Target

NOTE = "restore.json"
_START_SECONDS = 300.0


def steps(target: Target, opts: Options, work: Work, former: Path | None) -> tuple[Step, ...]:
    """Return the steps from the replay to the proof that the restored server is whole."""
    note = target.state_dir / NOTE
    kept = f"the former data is kept in {former}" if former else "there was no former data"
    return (
        Action(
            f"note in {note} that this restore is not proven",
            partial(_note, note, work, former, proven=False),
        ),
        Action(
            f"replay the binary log to {work.way.words} in a server of its own, and verify it",
            partial(_replay, opts, work, kept, lambda line: None),
            watched=partial(_replay, opts, work, kept),
        ),
        *_start(opts),
        Action(
            "verify that the server answers and that the heartbeat can be read",
            partial(_prove_started, opts, kept),
        ),
        Action(
            f"note in {note} that this restore is proven",
            partial(_note, note, work, former, proven=True),
        ),
        Action(f"remove {work.folder}", partial(shutil.rmtree, work.folder, ignore_errors=True)),
    )


def _note(path: Path, work: Work, former: Path | None, *, proven: bool) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {
        "backup_id": work.way.manifest.backup_id,
        "set_aside": str(former) if former else None,
        "position": work.done[-1] if work.done else None,
        "verified_at": now if proven else None,
    }
    files.write(path, json.dumps(about) + "\n", shared=True)


def place(opts: Options, work: Work) -> Server:
    """Return the server of dbops's own that a restore works with, its folder made anew."""
    run_dir = work.folder / "run"
    refill.make(run_dir, opts.os_user)
    kind = flavor.named(opts.flavor)
    data_dir = opts.require_path("data_dir")
    return Server(opts.config_file, data_dir, run_dir, opts.os_user, None, kind)


def _replay(opts: Options, work: Work, kept: str, tell: Progress) -> None:
    at, way = place(opts, work), work.way
    try:
        with private_server.running(at, opts.restore_time_limit_seconds):
            with at.connect(30) as connection:
                replay.seed(connection, way.start)
            position = replay.run(at, way.chain, way.start, way.until, tell)
            with at.connect(60) as connection:
                sound(connection, opts.heartbeat_schema)
                replay.begin_anew(connection, position, way.highest)
    except (DbopsError, pymysql.Error) as error:
        words = client.reason(error) if isinstance(error, pymysql.Error) else str(error)
        raise VerificationFailed(f"The restore ended before its point: {words} ({kept}).") from None
    work.done.append(str(position))


def sound(connection: Connection, schema: str) -> None:
    """Raise VerificationFailed unless the heartbeat, if there is one, can be read."""
    there = client.value(
        connection,
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s "
        "AND table_name = 'heartbeat'",
        [schema],
    )
    if there and heartbeat.newest(connection, schema) is None:
        raise VerificationFailed("its heartbeat table is empty")


def _start(opts: Options) -> tuple[Step, ...]:
    if opts.service is None:
        return ()
    return (Command(("systemctl", "start", opts.service), title="start the service"),)


def _prove_started(opts: Options, kept: str) -> None:
    if opts.service is None:
        return
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            with client.local(opts) as connection:
                sound(connection, opts.heartbeat_schema)
            return
        except (Unreachable, pymysql.Error, VerificationFailed) as error:
            if time.monotonic() < end and isinstance(error, Unreachable):
                time.sleep(0.5)
                continue
            words = client.reason(error) if isinstance(error, pymysql.Error) else str(error)
            raise VerificationFailed(
                f"The restored server is not sound: {words}; {kept}."
            ) from None


def prove(target: Target, opts: Options) -> None:
    """Raise Refused unless the server is sound now and what it replaced is no longer needed.

    A primary must have been verified by the restore that made it; a replica must receive.
    """
    try:
        with client.local(opts) as connection:
            standing = members.standing(connection)
            if standing.role == "replica":
                if not standing.receiving:
                    raise VerificationFailed("it is a replica that receives nothing")
                return
            sound(connection, opts.heartbeat_schema)
    except (CommandFailed, Unreachable, VerificationFailed, pymysql.Error) as error:
        words = client.reason(error) if isinstance(error, pymysql.Error) else str(error)
        raise Refused(f"The server is not up and sound, so nothing is removed: {words}.") from None
    set_aside.require_verified(target.state_dir / NOTE)
