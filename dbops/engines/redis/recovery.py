"""From the start of a restored server until it is proven: start, wait, open, check."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dbops import files
from dbops.engines.redis import aof, client, private_server, processes
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import CommandFailed, DbopsError, Refused, Unreachable, VerificationFailed
from dbops.restore import set_aside
from dbops.runner import Action, Command, Step, capture
from dbops.targets import Target

NOTE = "restore.json"
_STARTING_SECONDS = 20.0
_SNAPSHOT = "dump.rdb"


def steps(
    target: Target, opts: Options, way: Destination, former: Path | None, kept: str
) -> tuple[Step, ...]:
    """Return the steps from the restored files to the proof that they are served."""
    note = target.state_dir / NOTE
    about = {"backup_id": way.full.backup_id, "set_aside": str(former) if former else None}
    limit = opts.restore_time_limit_seconds
    return (
        *_for_cache(opts),
        Action(f"note in {note} that this restore is not proven", partial(_note, note, about, "")),
        _start(opts),
        Action(
            f"wait until the server has loaded its data (at most {limit:.0f} s)",
            partial(_wait, opts, kept, lambda line: None),
            watched=partial(_wait, opts, kept),
        ),
        Action(
            "make the server a primary, whatever it followed before", partial(_open, opts, kept)
        ),
        Action(
            "verify that the server came up with the restored data and keeps them",
            partial(_prove_restored, opts, way, kept),
        ),
        Action(f"note in {note} that this restore is proven", partial(_note, note, about, "now")),
    )


def _for_cache(opts: Options) -> tuple[Step, ...]:
    """A cache runs without append-only files and would not look at them: make it a snapshot."""
    if opts.purpose == "store":
        return ()
    data_dir = opts.require_path("data_dir")
    return (
        Action(
            f"make {_SNAPSHOT} of the append-only files, which a cache does not read",
            partial(_convert, opts, data_dir),
        ),
    )


def _convert(opts: Options, data_dir: Path) -> None:
    user = opts.os_user if os.geteuid() == 0 else None
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


def _note(path: Path, about: dict[str, str | None], verified: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    said = json.dumps({**about, "verified_at": now if verified else None}) + "\n"
    files.write(path, said, shared=True)


def _start(opts: Options) -> Step:
    service = opts.require("service")
    return Command(("systemctl", "start", "--no-block", service), title="start the service")


def _wait(opts: Options, kept: str, tell: Callable[[str], None]) -> None:
    """Return when the server has loaded its data; fail with its own last words when it ends."""
    began = time.monotonic()
    seen, told = False, ""
    while time.monotonic() - began < opts.restore_time_limit_seconds:
        try:
            with client.admin(opts) as connection:
                found = connection.info("persistence")
            if found.get("loading") == "0":
                return
            now = client.loaded(found)
        except (Unreachable, CommandFailed):
            now = "the server is starting"
        if now != told:
            tell(now)
            told = now
        alive = bool(processes.working_in(opts.require_path("data_dir")))
        seen = seen or alive
        if not alive and (seen or time.monotonic() - began > _STARTING_SECONDS):
            raise VerificationFailed(f"The restored server ended: {_last_words(opts)}; {kept}.")
        time.sleep(0.2)
    raise VerificationFailed(
        f"The restored server had not loaded its data within "
        f"{opts.restore_time_limit_seconds:.0f} s ({told}); {kept}."
    )


def _last_words(opts: Options) -> str:
    journal = ("journalctl", "--no-pager", "-o", "cat", "-n", "50", "-u", str(opts.service))
    said = capture(Command(journal, timeout_seconds=30)).stdout
    return private_server.complaint(said.splitlines()) or "it left no message"


def _open(opts: Options, kept: str) -> None:
    try:
        with client.admin(opts) as connection:
            if text(connection.ask("ROLE")[0]) != "master":
                connection.ask("REPLICAOF", "NO", "ONE")
    except DbopsError as error:
        raise VerificationFailed(
            f"The restored server cannot be opened: {error} ({kept})."
        ) from None


def _prove_restored(opts: Options, way: Destination, kept: str) -> None:
    """A server that came up empty over its files is the one thing that must not pass here."""
    try:
        with client.admin(opts) as connection:
            prove_server(opts, connection)
            expected = sum(one.rows for one in way.full.manifest.fingerprints)
            if expected and way.log is None and not connection.info("keyspace"):
                raise VerificationFailed(f"it is empty and {expected} rows were expected")
    except DbopsError as error:
        words = str(error).rstrip(".")
        raise VerificationFailed(f"The restored server is not sound: {words}; {kept}.") from None


def prove_server(opts: Options, connection: Connection) -> None:
    """Raise VerificationFailed unless the server holds what its files hold, and keeps it."""
    settings = connection.config("appendonly", "dir")
    persistence = connection.info("persistence")
    if Path(settings.get("dir", "")).resolve() != opts.require_path("data_dir").resolve():
        raise VerificationFailed(f"it serves {settings.get('dir')} and not the restored directory")
    if opts.purpose == "store" and settings.get("appendonly") != "yes":
        raise VerificationFailed("it runs without append-only files and would lose everything")
    if persistence.get("loading") != "0":
        raise VerificationFailed("it is still loading its data")
    if persistence.get("aof_last_write_status") != "ok":
        raise VerificationFailed("it cannot write its append-only file")
    if lost := client.discarded(connection.info("stats")):
        raise VerificationFailed(f"{lost} commands of the log were not carried out: see its log")


def prove(target: Target, opts: Options) -> None:
    """Raise Refused unless the server is sound now and what it replaced is no longer needed.

    A primary must have been verified by the restore that made it; a replica must receive.
    """
    try:
        with client.admin(opts) as connection:
            if text(connection.ask("ROLE")[0]) != "master":
                _receiving(connection)
                return
            prove_server(opts, connection)
    except (CommandFailed, Unreachable, VerificationFailed) as error:
        words = str(error).rstrip(".")
        raise Refused(f"The server is not up and sound, so nothing is removed: {words}.") from None
    set_aside.require_verified(target.state_dir / NOTE)


def _receiving(connection: Connection) -> None:
    if connection.info("replication").get("master_link_status") != "up":
        raise VerificationFailed("it is a replica that receives nothing")
