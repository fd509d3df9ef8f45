"""Move a whole cluster to another one, from Redis to Valkey too, while applications write to it.

By replication: the receiving primary copies everything and follows, its content is proven equal,
and writers are held for the moment that the switch takes. The side that was left follows in turn,
so the way back is the same switch once more and loses nothing; one that cannot read what the newer
server sends stays as it was left, closed. Not carried: accounts and settings.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from dbops.contract import MigratedDatabase, MigrateStep, Migration, Progress
from dbops.engines.redis import migrate_link as link
from dbops.engines.redis import migrate_proof, options
from dbops.engines.redis.client import Connection
from dbops.engines.redis.content import HEARTBEAT
from dbops.engines.redis.options import Options
from dbops.errors import CommandFailed, DbopsError, Refused, Unreachable
from dbops.migrate import steps
from dbops.migrate.steps import Moving
from dbops.runner import Action, Plan, watched
from dbops.targets import Target

BEHIND_LIMIT_BYTES = 16 * 1024 * 1024
LIMIT_SECONDS = 15.0
"""How long the switch may keep writers waiting before it gives up."""

CLOSED_SECONDS = 24 * 3600.0
"""How long the side that was left stays closed by itself, until it follows."""

_WHOLE = "all"


def plan_migrate(target: Target, step: MigrateStep) -> Plan:
    """Return what ``step`` of a migration does on this host; see :func:`steps.plan`."""
    opts = options.read(target)
    return steps.plan(target, opts, step, moving(target, opts))


def migration(target: Target) -> Migration:
    """Return how the migration of this host's cluster stands."""
    return steps.standing(target, moving(target, options.read(target)))


def moving(target: Target, opts: Options) -> Moving[Connection]:
    """Return what is asked of this host; its side is a connection to the server."""
    return Moving(
        here=partial(link.here, opts),
        databases=lambda ours: [_database(opts, ours)],
        prepare=partial(_prepare, opts),
        start=partial(_start, opts, target),
        follows=partial(_follows, opts),
        is_open=link.is_primary,
        compare=lambda tell: [migrate_proof.compared(opts, tell)],
        require_close=partial(_require_close, opts),
        move=partial(_move, opts, target),
        end_move=partial(_end_move, opts, target),
        follow=partial(_follow, opts, target),
        finish=partial(_finish, opts, target),
    )


def _database(opts: Options, ours: Connection) -> MigratedDatabase:
    """Return all databases of the server as one: Redis follows whole servers."""
    follows = link.follows(opts, ours)
    total = len(ours.info("keyspace"))
    up = ours.info("replication").get("master_link_status") == "up"
    behind = None
    if follows and up:
        try:
            _, theirs = link.there(opts)
            with theirs:
                behind = max(0, link.written(theirs) - link.applied(ours))
        except DbopsError:
            behind = None
    is_open = link.is_primary(ours) and not link.is_closed(ours)
    copied = total if up or not follows else 0
    return MigratedDatabase(_WHOLE, follows, is_open, total, copied, 0, behind)


def _prepare(opts: Options, ours: Connection) -> Plan:
    """Nothing needs to be made: the account is the role's, and all of it can be carried."""
    name, theirs = link.there(opts)
    with theirs:
        words = f"{name} answers as {opts.migrate_user}, {' '.join(link.product(theirs))}"
        if link.unreadable(opts, theirs):
            words += ", which the server here cannot follow"
        if "cluster" in ours.info("server").get("redis_mode", ""):
            raise Refused("This server is part of a Redis Cluster, which cannot be migrated so.")
    return [Action(f"see that the other cluster can be reached ({words})", lambda: None)]


def _start(opts: Options, target: Target, ours: Connection) -> Plan:
    name, theirs = link.there(opts)
    with theirs:
        plan: list[Action] = []
        if not link.follows(opts, ours):
            if not link.is_primary(ours):
                raise Refused("This member is a replica in its own cluster: run on its primary.")
            if link.is_closed(ours):
                raise Refused(
                    "This cluster was left by a migration and takes no writes: remove "
                    f"{link.HELD} beside its server's configuration and run provision first."
                )
            link.require_readable(opts, theirs)
            _require_empty(ours)
            plan.append(
                Action(f"follow {name} of the other cluster", partial(_begin, opts, target, name))
            )

    def wait(tell: Progress) -> None:
        with link.here(opts) as ours:
            link.wait_in_step(ours, tell)

    return [*plan, watched("copy everything", wait)]


def _begin(opts: Options, target: Target, name: str) -> None:
    with link.here(opts) as ours:
        link.follow(opts, target, name, ours)


def _require_empty(ours: Connection) -> None:
    """A copy replaces everything: only the heartbeat may be lost by it."""
    found = ours.info("keyspace")
    ours.ask("SELECT", 0)
    beats = int(ours.ask("EXISTS", HEARTBEAT))
    if set(found) - {"db0"} or int(ours.ask("DBSIZE")) > beats:
        raise Refused(
            "The server on this host holds keys already, which the copy would replace: a "
            "migration begins with an empty one. Nothing was done."
        )


def _follows(opts: Options, ours: Connection) -> bool:
    """Tell whether the server follows the other cluster; Refused says why it never can."""
    if link.follows(opts, ours):
        return True
    with suppress(Unreachable):
        _, theirs = link.there(opts)
        with theirs:
            link.require_readable(opts, theirs)
    return False


def _require_close(opts: Options, ours: Connection) -> None:
    _, theirs = link.there(opts)
    with theirs:
        behind = link.written(theirs) - link.applied(ours)
    if behind > BEHIND_LIMIT_BYTES:
        raise Refused(f"The server here is {behind} bytes behind: switch when it has caught up.")


def _move(opts: Options, target: Target, tell: Progress) -> float:
    """Close the other side, wait for its last write, open this one; return how long it took.

    The other side is opened again only when this one surely was not: both open is the worst end.
    """
    _, theirs = link.there(opts)
    with theirs, link.here(opts) as ours:
        tell("closing the other cluster for writes")
        began = time.monotonic()
        theirs.ask("CLIENT", "PAUSE", int(CLOSED_SECONDS * 1000), "WRITE")
        try:
            link.wait_applied(ours, link.written(theirs), LIMIT_SECONDS)
        except (DbopsError, KeyboardInterrupt) as error:
            theirs.ask("CLIENT", "UNPAUSE")
            words = str(error).rstrip(".") or "interrupted"
            raise CommandFailed(
                f"The switch did not happen ({words}): the other cluster takes writes as before."
            ) from None
        tell("opening this cluster")
        link.lead(opts, target, ours)
        return time.monotonic() - began


def _end_move(opts: Options, target: Target) -> None:
    """Close the other side for good: the killed run may have left it to its time limit."""
    with link.here(opts) as ours:
        link.settle(opts, target, ours)
    _, theirs = link.there(opts)
    with theirs:
        theirs.ask("CLIENT", "PAUSE", int(CLOSED_SECONDS * 1000), "WRITE")


def _follow(opts: Options, target: Target, ours: Connection) -> Plan:
    name, theirs = link.there(opts)
    with theirs:
        if link.follows(opts, ours) or link.is_closed(ours):
            return []
        _require_left(ours, theirs)
        why = link.unreadable(opts, theirs)
    if why is not None:
        # It might follow the stream for a while. At the first break it would want a copy, empty
        # itself for it, and fail to load it, again and again.
        stay = partial(_stay_closed, opts)
        return [Action(f"close this cluster for good, with no way back ({why})", stay)]

    def follow(tell: Progress) -> None:
        with link.here(opts) as ours:
            link.follow(opts, target, name, ours)
            # Writers that were held meanwhile learn now that this is a replica.
            ours.ask("CLIENT", "UNPAUSE")
            link.wait_in_step(ours, tell)

    return [watched(f"follow {name} from the switch on, for the way back", follow)]


def _stay_closed(opts: Options) -> None:
    with link.here(opts) as ours:
        link.close(opts, ours)
        # Writers that were held meanwhile are refused now.
        ours.ask("CLIENT", "UNPAUSE")


def _require_left(ours: Connection, theirs: Connection) -> None:
    """Refuse to follow a cluster that does not go on from exactly what is here."""
    mine, other = ours.info("replication"), theirs.info("replication")
    ends = int(other.get("second_repl_offset", "-1")) - 1
    if other.get("master_replid2") != mine.get("master_replid") or (
        ends < int(mine["master_repl_offset"]) - _PINGS_BYTES
    ):
        raise Refused(
            "The other cluster does not go on from what this one holds: only a side that was left "
            "by a switch can follow. Nothing was done."
        )


_PINGS_BYTES = 64 * 1024
"""A primary that is closed goes on pinging its replicas, which counts in its position."""


def _finish(opts: Options, target: Target, ours: Connection) -> Plan:
    def finish() -> None:
        with link.here(opts) as here:
            if link.follows(opts, here):
                # Closed it stays, so that nobody writes to it by mistake.
                link.lead(opts, target, here, closed=True)
            else:
                link.settle(opts, target, here)

    return [Action("end the migration here", finish)]
