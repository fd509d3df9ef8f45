"""The proof that both sides of a migration hold the same, while applications write to one of them.

A second, independent copy of the other cluster is made by a private server on this host. Writers
are then held for some milliseconds, until both copies have applied the very last write; the private
one is cut off there, and the server here begins a snapshot. Both are read at leisure.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dbops.contract import Progress
from dbops.engines.redis import content, fingerprint, private_server, spool
from dbops.engines.redis import migrate_link as link
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import CommandFailed
from dbops.manifest import Fingerprint
from dbops.migrate.steps import Compared
from dbops.targets import read_secret

HOLD_SECONDS = 2.0
_ATTEMPTS = 5
_LIMIT_SECONDS = 600.0


def compared(opts: Options, tell: Progress) -> Compared:
    """Return all content of both sides at one moment.

    Raises Refused where the other side cannot be read, CommandFailed when no moment was found.
    """
    name, theirs = link.there(opts)
    link.require_readable(opts, theirs)
    with theirs, link.here(opts) as ours, _copy(opts, name, tell) as (place, copy):
        held, snapshot = _moment(theirs, ours, copy, tell)
        expected = _read(copy, tell)
        found = _loaded(opts, ours, snapshot, place, tell)
    now = datetime.now(UTC)
    return Compared("all", content.settled(expected, now), content.settled(found, now), held)


@contextmanager
def _copy(opts: Options, name: str, tell: Progress) -> Iterator[tuple[Place, Connection]]:
    """Yield a private server that follows the other cluster's primary, and what it was told."""
    owner = opts.os_user if os.geteuid() == 0 else None
    data_dir = opts.require_path("data_dir")
    folder = Path(tempfile.mkdtemp(prefix="dbops-prove-", dir=data_dir.parent))
    try:
        spool.make(folder, owner)
        place = Place(data=folder, run=folder, user=owner, options=opts)
        server = private_server.start(place, _LIMIT_SECONDS, append_only=False)
        with server, server.connect() as connection:
            tell(f"making a second copy of {name}'s data here")
            _follow(opts, name, connection)
            link.wait_in_step(connection, tell)
            yield place, connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _follow(opts: Options, name: str, connection: Connection) -> None:
    connection.ask(
        "CONFIG", "SET",
        "tls-ca-cert-file", str(opts.migrate_ca_file),
        "tls-cert-file", str(opts.link_certificate),
        "tls-key-file", str(opts.link_key),
        "tls-replication", "yes",
        "masteruser", opts.migrate_user,
        "masterauth", read_secret(opts.migrate_password_file),
    )  # fmt: skip
    connection.ask("REPLICAOF", opts.migrate_hosts[name], opts.migrate_port)


def _moment(
    theirs: Connection, ours: Connection, copy: Connection, tell: Progress
) -> tuple[float, float]:
    """Hold writers until both copies are at one position; return for how long, and when."""
    for attempt in range(_ATTEMPTS):
        _wait_idle(ours)
        began = time.monotonic()
        theirs.ask("CLIENT", "PAUSE", int(HOLD_SECONDS * 1000), "WRITE")
        try:
            position = link.written(theirs)
            link.wait_applied(ours, position, HOLD_SECONDS / 3)
            link.wait_applied(copy, position, HOLD_SECONDS / 3)
            copy.ask("REPLICAOF", "127.0.0.1", 1)
            started = time.time()
            ours.ask("BGSAVE")
            held = time.monotonic() - began
        except CommandFailed as error:
            tell(f"no moment was found ({error}): attempt {attempt + 2}")
            continue
        finally:
            theirs.ask("CLIENT", "UNPAUSE")
        if held < HOLD_SECONDS:
            tell(f"writers waited for {held * 1000:.0f} ms")
            return held, started
        raise CommandFailed("Writers went on before both sides were fixed: run again.")
    raise CommandFailed("No moment was found at which both sides had the same: run again.")


def _wait_idle(connection: Connection) -> None:
    """A snapshot cannot begin while another file is being written."""
    names = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    end = time.monotonic() + _LIMIT_SECONDS
    while any(connection.info("persistence").get(name) == "1" for name in names):
        if time.monotonic() > end:
            raise CommandFailed("The server here does not end writing its files: run again later.")
        time.sleep(0.2)


def _read(connection: Connection, tell: Progress) -> Fingerprint:
    return fingerprint.of_server(connection, "", datetime.now(UTC), time.monotonic(), tell)


def _loaded(
    opts: Options, ours: Connection, started: float, place: Place, tell: Progress
) -> Fingerprint:
    """Read the snapshot that the server here has made by now."""
    _wait_idle(ours)
    file = opts.require_path("data_dir") / ours.config("dbfilename")["dbfilename"]
    if ours.info("persistence").get("rdb_last_bgsave_status") != "ok":
        raise CommandFailed("The server here could not save a snapshot: look at its disk.")
    if file.stat().st_mtime < started - 1:
        raise CommandFailed(f"{file} is older than the snapshot that was asked for: run again.")
    staged = opts.model_copy(update={"stage_dir": place.run})
    try:
        return fingerprint.of_file(staged, file, "", tell)
    finally:
        file.unlink(missing_ok=True)
