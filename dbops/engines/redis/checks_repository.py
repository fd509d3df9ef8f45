"""The checks of the host that keeps the backups."""

from __future__ import annotations

from collections.abc import Iterator

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.redis import checks_member, client, members, replica, tampering
from dbops.engines.redis.options import Options
from dbops.errors import DbopsError


def directories(opts: Options) -> Iterator[Check]:
    """The hidden replica's folder, and the room on its disk."""
    place = opts.require_path("replica_dir")
    yield lines.private(place, "replica's directory is private", opts.os_user)
    yield lines.headroom(place, "replica's disk has room")


def hidden_replica(opts: Options) -> Iterator[Check]:
    """The replica that the backups are made of: it answers, follows the primary, is in step."""
    hint = f"look at the service {opts.replica_service} and its log"
    try:
        connection = client.replica(opts)
    except DbopsError as error:
        yield Check("hidden replica answers", False, str(error), hint)
        return
    with connection:
        yield Check("hidden replica answers", True, str(opts.replica_socket))
        words = replica.out_of_step(connection)
        yield Check("hidden replica is in step", words is None, words or "it follows", hint)
        yield checks_member.carried_out(connection)
        found = connection.info("replication")
        place = members.primary(opts, opts.backup_user, opts.backup_password_file)
        here = (found.get("master_host", ""), int(found.get("master_port", "0")))
        name = members.member_at(opts, place) or f"{place[0]}:{place[1]}"
        detail = name if here == place else f"it follows {here[0]}:{here[1]}, the primary is {name}"
        yield Check("hidden replica follows the primary", here == place, detail, "run backup")
        settings = connection.config("replica-priority", "appendonly", "aof-timestamp-enabled")
        wanted = {"replica-priority": "0", "appendonly": "yes", "aof-timestamp-enabled": "yes"}
        bad = [f"{key}={settings.get(key)}" for key in wanted if settings.get(key) != wanted[key]]
        detail = ", ".join(bad) or "never promoted, logs every write with its time"
        yield Check("hidden replica is set up", not bad, detail, "run backup")
        differing = tampering.differences(opts, connection)
        detail = "; ".join(differing) or "its settings, accounts and commands"
        hint = "its primary may be taken over: look there, then run backup"
        yield Check("hidden replica is as declared", not differing, detail, hint)
