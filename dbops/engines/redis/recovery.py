"""What a restored server is asked until it is proven: loaded, open, sound."""

from __future__ import annotations

from pathlib import Path

from dbops.engines.redis import client, private_server
from dbops.engines.redis.client import Connection, text
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.errors import VerificationFailed
from dbops.runner import Command, capture


def state(opts: Options) -> str | None:
    """Return None once the server has loaded its data, until then how far it is."""
    with client.admin(opts) as connection:
        found = connection.info("persistence")
    return None if found.get("loading") == "0" else client.loaded(found)


def last_words(opts: Options) -> str:
    """Return the server's newest complaint, empty when it left none."""
    journal = ("journalctl", "--no-pager", "-o", "cat", "-n", "50", "-u", str(opts.service))
    said = capture(Command(journal, timeout_seconds=30)).stdout
    return private_server.complaint(said.splitlines())


def open_(opts: Options) -> None:
    """Make the server a primary if it is not one."""
    with client.admin(opts) as connection:
        if _is_replica(connection):
            private_server.open_(connection)


def _is_replica(connection: Connection) -> bool:
    return text(connection.ask("ROLE")[0]) != "master"


def sound(opts: Options, way: Destination | None) -> None:
    """Raise VerificationFailed unless the server holds what its files hold, and keeps it.

    One that came up empty over the files of ``way`` is the one thing that must not pass here.
    """
    with client.admin(opts) as connection:
        _require_whole(opts, connection)
        expected = sum(one.rows for one in way.full.manifest.fingerprints) if way else 0
        if expected and way and way.log is None and not connection.info("keyspace"):
            raise VerificationFailed(f"it is empty and {expected} rows were expected")


def _require_whole(opts: Options, connection: Connection) -> None:
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


def receives(opts: Options) -> bool | None:
    """Return whether a replica's link to its primary is up, None on a primary."""
    with client.admin(opts) as connection:
        if not _is_replica(connection):
            return None
        return connection.info("replication").get("master_link_status") == "up"
