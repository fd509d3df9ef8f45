"""Move a whole cluster to another one, of a newer version too, while applications write to it.

By logical replication: definitions are carried over, rows copied and then followed, the content of
both sides is proven equal, and writers are moved within seconds. The side that was left follows in
turn, so the way back is the same switch once more and loses nothing.
Not carried: roles and grants (the role ``postgresql`` makes them), large objects, unlogged rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from dbops.contract import MigratedDatabase, MigrateStep, Migration, Progress
from dbops.engines.postgresql import migrate_link as link
from dbops.engines.postgresql import migrate_proof, migrate_schema, migrate_switch, options
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, Refused, Unreachable
from dbops.migrate import steps
from dbops.migrate.steps import Compared, Moving
from dbops.runner import Action, Plan, watched
from dbops.targets import Target


def plan_migrate(target: Target, step: MigrateStep) -> Plan:
    """Return what ``step`` of a migration does on this host; see :func:`steps.plan`."""
    opts = options.read(target)
    return steps.plan(target, opts, step, moving(target, opts))


def migration(target: Target) -> Migration:
    """Return how the migration of this host's cluster stands."""
    return steps.standing(target, moving(target, options.read(target)))


def moving(target: Target, opts: Options) -> Moving[Sequence[str]]:
    """Return what is asked of this host; its side is the databases that would be migrated."""
    return Moving(
        here=partial(_names, target, opts),
        databases=lambda names: [_database(opts, name) for name in names],
        prepare=partial(_prepare, opts),
        start=partial(_start, target, opts),
        follows=lambda names: bool(_followed(opts, names)),
        is_open=partial(_is_open, opts),
        compare=partial(_compare, target, opts),
        require_close=lambda names: migrate_switch.require_ready(opts, _followed(opts, names)),
        move=partial(_move, target, opts),
        end_move=partial(_end_move, target, opts),
        follow=partial(_follow, opts),
        finish=partial(_finish, opts),
    )


@contextmanager
def _names(target: Target, opts: Options) -> Iterator[Sequence[str]]:
    with link.here(opts, opts.database) as ours:
        link.require_primary(ours)
        names = link.names(opts, ours)
    if not names:
        raise Refused(f"{target.cluster!r} has no database to migrate: declare them, run secure.")
    yield names


def _database(opts: Options, name: str) -> MigratedDatabase:
    with link.here(opts, name) as ours:
        follows = link.subscribed(ours)
        ready, total, errors = link.copied(ours)
        is_open = link.is_open(ours)
    try:
        behind = link.behind_bytes(opts, name) if follows else None
    except (ConfigError, Unreachable):
        behind = None
    return MigratedDatabase(name, follows, is_open, total, ready, errors, behind)


def _prepare(opts: Options, names: Sequence[str]) -> Plan:
    def prepare(name: str) -> None:
        with link.here(opts, name) as ours:
            link.prepare(ours)

    for name in names:
        with link.here(opts, name) as ours:
            link.require_carriable(ours, name)
    return [
        Action(f"publish database {name} to the migration", partial(prepare, name))
        for name in names
    ]


def _start(target: Target, opts: Options, names: Sequence[str]) -> Plan:
    with link.there(opts, opts.database) as theirs, link.here(opts, opts.database) as ours:
        wanted = link.names(opts, theirs)
        if ours.info.server_version // 10000 < theirs.info.server_version // 10000:
            raise Refused("The other cluster is of a newer version: a migration goes to the newer.")
    missing = sorted(set(wanted) - set(names))
    if missing:
        raise ConfigError(
            f"Database {missing[0]!r} is not here yet: declare it for {target.cluster!r}, too, "
            "and run site."
        )
    plan: list[Action] = []
    for name in wanted:
        with link.here(opts, name) as ours:
            if not link.subscribed(ours):
                plan += _begin(opts, name, made=bool(link.tables(ours)), empty=link.is_empty(ours))
        plan.append(watched(f"copy database {name}", partial(_wait, opts, name)))
    return plan


def _begin(opts: Options, name: str, *, made: bool, empty: bool) -> list[Action]:
    if not empty:
        raise Refused(
            f"Database {name!r} of this host holds rows already: a migration begins with an empty "
            "one. Nothing was done."
        )

    def carry() -> None:
        with link.here(opts, name) as ours:
            migrate_schema.carry(opts, ours, name)

    def subscribe() -> None:
        with link.here(opts, name) as ours:
            link.clear_extensions(ours)
            link.subscribe(opts, ours, name, copy=True)

    def close() -> None:
        with link.here(opts, name) as ours:
            link.close(opts, ours, name)

    definitions = [Action(f"make the tables of database {name} as they are there", carry)]
    return [
        Action(f"let applications only read database {name} here", close),
        *([] if made else definitions),
        Action(f"follow database {name} of the other cluster", subscribe),
    ]


def _wait(opts: Options, name: str, tell: Progress) -> None:
    with link.here(opts, name) as ours:
        link.resume(ours)
        link.wait_copied(ours, name, tell)


def _compare(target: Target, opts: Options, tell: Progress) -> Iterator[Compared]:
    with _names(target, opts) as names:
        migrated = _followed(opts, names)
    for name in migrated:
        _wait(opts, name, tell)
        with link.here(opts, name) as ours:
            link.refresh_views(ours, tell)
        yield migrate_proof.compared(opts, name, tell)


def _followed(opts: Options, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        with link.here(opts, name) as ours:
            if link.subscribed(ours):
                found.append(name)
    return found


def _is_open(opts: Options, names: Sequence[str]) -> bool:
    """Tell whether what follows takes writes; where nothing does any more, whether all do."""
    return migrate_switch.is_done(opts, _followed(opts, names) or names)


def _move(target: Target, opts: Options, tell: Progress) -> float:
    with _names(target, opts) as names:
        return migrate_switch.switch(opts, _followed(opts, names), tell)


def _end_move(target: Target, opts: Options) -> None:
    with _names(target, opts) as names:
        migrate_switch.finish(opts, _followed(opts, names))


def _follow(opts: Options, names: Sequence[str]) -> Plan:
    plan = []
    for name in names:
        with link.here(opts, name) as ours:
            if link.subscribed(ours):
                continue
            if link.is_open(ours):
                raise Refused(
                    f"Database {name!r} takes writes on this host: only a side that was left by a "
                    "switch can follow the other."
                )

        def follow(name: str = name) -> None:
            with link.here(opts, name) as ours:
                link.close(opts, ours, name)
                link.subscribe(opts, ours, name, copy=False)

        plan.append(Action(f"follow database {name} from the switch on, for the way back", follow))
    return plan


def _finish(opts: Options, names: Sequence[str]) -> Plan:
    def remove(name: str) -> None:
        with link.here(opts, name) as ours:
            link.remove(opts, ours, name)

    return [
        Action(f"end the migration of database {name} here", partial(remove, name))
        for name in names
    ]
