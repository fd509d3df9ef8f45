"""The checks of the hosts that keep the backups and that restore them to prove them."""

from __future__ import annotations

from collections.abc import Iterator

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.redis import catalogue, checks_member, client, members, rdb, replica, tampering
from dbops.engines.redis.options import Options
from dbops.errors import DbopsError
from dbops.targets import Target


def directories(target: Target, opts: Options) -> Iterator[Check]:
    """The folders' owners and modes, and the room on their disks."""
    place = opts.require_path("replica_dir")
    yield lines.private(place, "replica's directory is private", opts.os_user)
    yield lines.headroom(place, "replica's disk has room")
    yield lines.headroom(opts.repo_path, "repository disk has room")


def hidden_replica(target: Target, opts: Options) -> Iterator[Check]:
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


def stored(target: Target, opts: Options) -> Iterator[Check]:
    """What the repository holds: redundancy, ages, how far its log goes."""
    found = catalogue.STORE.catalogue(target)
    yield Check("repository answers", True, f"{len(found.backups)} backups")
    yield lines.redundancy(found.backups, opts.minimum_redundancy)
    for kind, seconds in opts.schedule_interval_seconds.items():
        if kind != "log":
            yield lines.age(found.backups, kind, seconds)
    yield lines.fingerprint(found.backups)
    newest = found.window.newest if found.window else None
    hint = "look at the log backup's timer, the hidden replica and the heartbeat"
    promised = target.objectives.rpo_seconds
    yield lines.log_age("newest stored log is fresh", newest, promised, hint)


def attempts(target: Target, opts: Options) -> Iterator[Check]:
    """How the last attempts on this host ended."""
    yield from lines.attempts(target)


def drill_host(target: Target, opts: Options) -> Iterator[Check]:
    """What a drill needs on this host, and how the last one ended."""
    said = rdb.server_version(opts)
    version = said.split(" ", 1)[1]
    ok = version == target.version or version.startswith(f"{target.version}.")
    yield Check("server's version", ok, f"{said}, the target says {target.version}", "provision")
    yield from lines.drills(target, opts.require_path("scratch_dir"), opts.drill_interval_seconds)
