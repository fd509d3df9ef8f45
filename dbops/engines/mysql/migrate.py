"""Move a whole cluster to another one, of a newer version too, while applications write to it.

By replication: the databases are copied out of one snapshot and then followed, the content of both
sides is proven equal at one GTID, and writers are moved within seconds. The side that was left
follows in turn, so the way back is the same switch once more and loses nothing.
Not carried: accounts and grants (the role ``mysql`` makes them), tables outside InnoDB while they
are written to. What is *not* here: the link between the two (:mod:`.migrate_link`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dbops import files
from dbops.contract import MigratedDatabase, MigrateStep, Migration, Progress
from dbops.engines.mysql import (
    client,
    events,
    fingerprint,
    flavor,
    gtid,
    members,
    options,
    scheduled,
    tables,
)
from dbops.engines.mysql import migrate_link as link
from dbops.engines.mysql.backup import series
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.errors import ConfigError, Refused
from dbops.manifest import Fingerprint
from dbops.migrate import steps
from dbops.migrate.steps import Compared, Moving
from dbops.runner import Action, Plan, watched
from dbops.targets import Target

CLOSED = "migration.closed"
"""In the state directory: this side was left, and its service starts it read-only."""

_SWITCH_SECONDS = 60.0
_MOST_BEHIND_SECONDS = 30
_CONNECTING_SECONDS = 20.0


def plan_migrate(target: Target, step: MigrateStep) -> Plan:
    """Return what ``step`` of a migration does on this host; see :func:`steps.plan`."""
    opts = options.read(target)
    return steps.plan(target, opts, step, moving(target, opts))


def migration(target: Target) -> Migration:
    """Return how the migration of this host's cluster stands."""
    return steps.standing(target, moving(target, options.read(target)))


def moving(target: Target, opts: Options) -> Moving[Connection]:
    """Return what is asked of this host; its side is root's connection to the primary."""
    return Moving(
        here=partial(_primary, opts),
        databases=lambda ours: [_database(opts, ours, name) for name in link.names(opts, ours)],
        prepare=partial(_prepare, opts),
        start=partial(_start, opts),
        follows=lambda ours: members.following(ours, members.MIGRATION) is not None,
        is_open=link.is_open,
        compare=partial(_compare, opts),
        require_close=_require_close,
        move=partial(_move, opts, target),
        end_move=partial(_end_move, opts, target),
        follow=partial(_follow, opts),
        finish=partial(_finish, opts, target),
    )


@contextmanager
def _primary(opts: Options) -> Iterator[Connection]:
    _require_carried(opts)
    with client.local(opts) as ours:
        if members.standing(ours).role != "primary":
            raise Refused("This host is a replica: run the migration on the primary.")
        yield ours


def _require_carried(opts: Options) -> None:
    kind = flavor.named(opts.flavor)
    if kind is not flavor.MARIADB:
        raise ConfigError(
            f"A migration of {kind.title} is not carried out yet, neither to another cluster nor "
            "from or to MariaDB. Nothing was done."
        )


def _database(opts: Options, ours: Connection, name: str) -> MigratedDatabase:
    known = members.following(ours, members.MIGRATION)
    follows = known is not None and known["Slave_SQL_Running"] == "Yes"
    count = len([one for one in tables.present(ours) if one.database == name])
    errors = int(bool(known and (int(known["Last_SQL_Errno"]) or int(known["Last_IO_Errno"]))))
    behind = link.behind_bytes(known) if known is not None and follows else None
    copied = count if known is not None else 0
    return MigratedDatabase(name, follows, link.is_open(ours), count, copied, errors, behind)


def _prepare(opts: Options, ours: Connection) -> Plan:
    link.require_carriable(opts, ours)
    with link.there(opts) as theirs:
        link.require_domains(ours, theirs)
    return []


def _start(opts: Options, ours: Connection) -> Plan:
    with link.there(opts) as theirs:
        _require_newer(ours, theirs)
        link.require_domains(ours, theirs)
        link.require_carriable(opts, theirs)
        wanted = link.names(opts, theirs)
    if not wanted:
        raise Refused("The other cluster has no database to migrate.")
    if members.following(ours, members.MIGRATION) is not None:
        return [watched("go on following the other cluster", lambda tell: _resume(opts, tell))]
    held = [name for name in wanted if link.holds_tables(ours, name)]
    if held:
        raise Refused(
            f"Database {held[0]!r} of this host holds tables already: a migration begins with an "
            "empty one. Nothing was done."
        )

    def copy(tell: Progress) -> None:
        with client.local(opts, timeout_seconds=0) as here:
            link.close(here)
            try:
                with events.resting(here):
                    position = link.copy(opts, here, wanted, tell)
                    events.leave_to_the_other(here, wanted)
                link.follow(opts, here, position)
            except BaseException:
                link.remove(opts, here)
                raise
        _resume(opts, tell)

    return [watched(f"copy {', '.join(wanted)} and follow the other cluster", copy)]


def _require_newer(ours: Connection, theirs: Connection) -> None:
    here, there = (_version(one) for one in (ours, theirs))
    if here < there:
        raise Refused("The other cluster is of a newer version: a migration goes to the newer.")


def _version(connection: Connection) -> tuple[int, ...]:
    text = series(str(client.value(connection, "SELECT VERSION()")))
    return tuple(int(part) for part in text.split("."))


def _resume(opts: Options, tell: Progress) -> None:
    with client.local(opts, timeout_seconds=0) as here:
        link.resume(here)
        link.wait_near(here, tell)


def _compare(opts: Options, tell: Progress) -> Iterator[Compared]:
    """Hold this side, record the other one, let this side come to that very GTID, record it."""
    with client.local(opts, timeout_seconds=0) as here, link.held(here):
        expected = fingerprint.take(lambda: link.there(opts, timeout_seconds=0), tell)
        link.come_to(here, gtid.parse(expected.point), tell)
        found = fingerprint.take(lambda: client.local(opts, timeout_seconds=0), tell)
        with link.there(opts) as theirs:
            alike = _version(here) == _version(theirs)
    yield Compared("all", _carried(opts, expected, alike), _carried(opts, found, alike))


def _carried(opts: Options, one: Fingerprint, alike: bool) -> Fingerprint:
    """Leave out what is each cluster's own; versions write the same definition differently."""
    databases = []
    for database in one.databases:
        if database.database == opts.heartbeat_schema:
            continue
        kept = database.tables
        if not alike:
            kept = tuple(table.model_copy(update={"definition": ""}) for table in kept)
        databases.append(database.model_copy(update={"tables": kept}))
    return one.model_copy(update={"databases": tuple(databases)})


def _require_close(ours: Connection) -> None:
    lag = link.lag(ours, _CONNECTING_SECONDS)
    if lag is None or lag > _MOST_BEHIND_SECONDS:
        raise Refused(f"This cluster is {lag or 'an unknown number of'} seconds behind: wait.")


def _move(opts: Options, target: Target, tell: Progress) -> float:
    """Close the other side, wait for its last write, open this one; undo that on any failure."""
    with client.local(opts, timeout_seconds=0) as here, link.there(opts) as theirs:
        _require_no_events(theirs)
        wanted = scheduled.states(theirs)
        began = time.monotonic()
        with _closed(theirs):
            last = link.position(theirs)
            tell(f"the other cluster is closed at {last}")
            link.wait_for(here, last, _SWITCH_SECONDS)
            link.stop(here)
            link.mark(opts, here)
        link.open_for_writing(here)
        pause = time.monotonic() - began
        scheduled.mend(here, wanted, events.switch)
    _end_move(opts, target)
    return pause


def _end_move(opts: Options, target: Target) -> None:
    """Stop following the other side, once this one is open."""
    (target.state_dir / CLOSED).unlink(missing_ok=True)
    with client.local(opts, timeout_seconds=0) as here:
        if members.following(here, members.MIGRATION) is not None:
            link.forget(here)


def _require_no_events(theirs: Connection) -> None:
    """An event of root's would go on writing where nobody may."""
    if found := events.running(theirs):
        raise Refused(
            f"Events run on the other cluster's primary ({', '.join(found[:3])}), and would go on "
            "there: run SET GLOBAL event_scheduler = OFF on it as root, then switch. Nothing was "
            "done."
        )


@contextmanager
def _closed(theirs: Connection) -> Iterator[None]:
    link.close(theirs)
    try:
        link.end_sessions(theirs)
        yield
    except BaseException:
        link.open_for_writing(theirs)
        raise


def _follow(opts: Options, ours: Connection) -> Plan:
    if members.following(ours, members.MIGRATION) is not None:
        return []
    if link.is_open(ours):
        raise Refused(
            "This cluster takes writes: only a side that was left by a switch can follow the other."
        )
    with link.there(opts) as theirs:
        position = link.marked(opts, theirs)

    def follow(tell: Progress) -> None:
        with client.local(opts, timeout_seconds=0) as here:
            link.follow(opts, here, position)
        _resume(opts, tell)

    return [watched("follow the other cluster from the switch on, for the way back", follow)]


def _finish(opts: Options, target: Target, ours: Connection) -> Plan:
    def end() -> None:
        with client.local(opts, timeout_seconds=60) as here:
            if members.following(here, members.MIGRATION) is not None and not link.is_open(here):
                text = "A migration left this cluster: its service starts it read-only.\n"
                files.write(target.state_dir / CLOSED, text, shared=True)
            link.remove(opts, here)

    return [Action("end the migration here", end)]
