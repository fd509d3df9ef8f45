"""The hidden replica on the repository host: it follows the primary, and its files are the backup.

Nobody reads from it and no Sentinel knows it, so what a backup costs is paid there. Its append-only
increments are the log. What is *not* here: what is done with its files; see :mod:`.backup`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dbops.contract import Progress
from dbops.engines.redis import members
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, DbopsError, Unreachable

_PAUSE_SECONDS = 0.1
_REWRITE_SECONDS = 6 * 3600.0


def follow(opts: Options, connection: Connection, progress: Progress) -> str:
    """See that the replica follows the primary of now; return the primary's name."""
    place = members.primary(opts, opts.backup_user, opts.backup_password_file)
    name = members.member_at(opts, place) or f"{place[0]}:{place[1]}"
    found = connection.info("replication")
    if (found.get("master_host"), found.get("master_port")) != (place[0], str(place[1])):
        progress(f"the replica follows {name} from now on")
        connection.ask("REPLICAOF", place[0], place[1])
    return name


def attach(opts: Options, connection: Connection, progress: Progress, alone: bool) -> str:
    """Follow the primary of now and be in step with it; return whose data the replica has.

    With ``alone`` a replica whose primary is gone will do, if it has all of a former copy.
    """
    try:
        name = follow(opts, connection, progress)
        if alone and not reachable(connection):
            raise Unreachable(f"The primary {name} takes no connections.")
        wait_in_step(opts, connection, progress)
    except Unreachable as error:
        if not alone or reachable(connection) or not _has_a_copy(connection):
            raise
        progress(f"{error} What the replica has of it is backed up.")
        place = _followed(connection)
        return members.member_at(opts, place) or f"{place[0]}:{place[1]}"
    return name


def reachable(connection: Connection) -> bool:
    """Tell whether the primary that the replica follows takes connections."""
    return members.reachable(_followed(connection))


def _followed(connection: Connection) -> members.Place:
    found = connection.info("replication")
    return found.get("master_host", ""), int(found.get("master_port", "0"))


def _has_a_copy(connection: Connection) -> bool:
    """A copy that broke off leaves the former data in place; an empty server never had one."""
    persistence = connection.info("persistence")
    return (
        connection.info("replication").get("master_sync_in_progress") == "0"
        and persistence.get("loading") == "0"
        and persistence.get("aof_enabled") == "1"
        and bool(connection.info("keyspace"))
    )


def wait_in_step(opts: Options, connection: Connection, progress: Progress) -> None:
    """Return once the replica has all that the primary had; Unreachable when it has no link."""
    end = time.monotonic() + opts.replica_wait_seconds
    told = False
    while True:
        words = out_of_step(connection)
        if words is None:
            return
        if time.monotonic() > end and not _copying(connection):
            raise Unreachable(
                f"The backup's replica on this host is not in step with the primary ({words}): "
                "look at its log."
            )
        if not told:
            progress(words)
            told = True
        time.sleep(_PAUSE_SECONDS)


def out_of_step(connection: Connection) -> str | None:
    """Return why the replica cannot be backed up now, None when it can."""
    found = connection.info("replication")
    if found.get("role") != "slave":
        return "it follows nobody"
    if found.get("master_sync_in_progress") == "1":
        return "it is copying everything from the primary"
    if found.get("master_link_status") != "up":
        return "its link to the primary is down"
    files = connection.info("persistence")
    if files.get("loading") != "0":
        return "it is loading its data"
    if files.get("aof_enabled") != "1":
        return "it writes no append-only file"
    if "1" in (files.get("aof_rewrite_in_progress"), files.get("aof_rewrite_scheduled")):
        return "it is rewriting its append-only file"
    return None


def _copying(connection: Connection) -> bool:
    """A copy or a rewrite takes as long as it takes: only standing still has a limit."""
    found = connection.info("replication") | connection.info("persistence")
    busy = ("master_sync_in_progress", "aof_rewrite_in_progress", "loading")
    return any(found.get(name) == "1" for name in busy)


def healthy(connection: Connection) -> None:
    """Raise CommandFailed when the replica could not write its files: its log has a hole then."""
    found = connection.info("persistence")
    if found.get("aof_last_write_status") != "ok":
        raise CommandFailed(
            "The backup's replica cannot write its append-only file: look at its disk and its log."
        )


def begin_rewrite(connection: Connection) -> tuple[datetime, int]:
    """Start a new base; return a time, to the second, that is not before it, and a mark for later.

    :func:`end_rewrite` wants the mark.
    """
    _wait(connection, lambda found: not _child(found))
    mark = int(connection.info("persistence").get("aof_rewrites", "0"))
    connection.ask("BGREWRITEAOF")
    # The fork happens within the command; the second in which it happened may not be over.
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1), mark


def end_rewrite(
    connection: Connection, mark: int, give_up: Callable[[], bool] = lambda: False
) -> None:
    """Return once the new base is complete; raise CommandFailed when there will be none."""
    _wait(connection, lambda found: give_up() or not _child(found))
    found = connection.info("persistence")
    if found.get("aof_last_bgrewrite_status") != "ok" or (
        int(found.get("aof_rewrites", "0")) <= mark
    ):
        raise CommandFailed(
            "The backup's replica could not write a new base: look at its disk, its memory and "
            "its log."
        )


def rewriting(connection: Connection) -> bool:
    """Tell whether a new base is being written."""
    return _child(connection.info("persistence"))


def _child(found: dict[str, str]) -> bool:
    names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    return any(found.get(name) == "1" for name in names)


def _wait(connection: Connection, done: Callable[[dict[str, str]], bool]) -> None:
    deadline = time.monotonic() + _REWRITE_SECONDS
    while not done(connection.info("persistence")):
        if time.monotonic() > deadline:
            raise CommandFailed("The backup's replica does not end its rewrite: look at its log.")
        time.sleep(_PAUSE_SECONDS)


def link_trouble(connection: Connection) -> str | None:
    """Return why what comes now is not being received, None while the link is up."""
    try:
        found = connection.info("replication")
    except DbopsError as error:
        return str(error)
    if found.get("role") == "slave" and found.get("master_link_status") == "up":
        return None
    return "its link to the primary is down"
