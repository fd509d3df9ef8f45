"""Move a whole cluster to another one, of a newer version too, while applications write to it.

By logical replication: definitions are carried over, rows copied and then followed, the content of
both sides is proven equal, and writers are moved within seconds. The side that was left follows in
turn, so the way back is the same switch once more and loses nothing.
Not carried: roles and grants (the role ``postgresql`` makes them), large objects, unlogged rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from dbops.contract import MigratedDatabase, MigrateStep, Migration, Progress
from dbops.engines.postgresql import migrate_link as link
from dbops.engines.postgresql import migrate_proof, migrate_schema, migrate_switch, options
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, Refused, Unreachable
from dbops.migrate import note
from dbops.runner import Action, Plan, watched
from dbops.targets import Target


def plan_migrate(target: Target, step: MigrateStep) -> Plan:
    """Return what ``step`` of a migration does on this host.

    Raises Refused when it cannot be done now, ConfigError when the other side is not known.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    with link.here(opts, opts.database) as ours:
        link.require_primary(ours)
        names = link.names(opts, ours)
    if not names:
        raise Refused(f"{target.cluster!r} has no database to migrate: declare them, run secure.")
    return _PLANS[step](opts, target, names)


def migration(target: Target) -> Migration:
    """Return how the migration of this host's cluster stands."""
    options.require_part(target, "member")
    opts = options.read(target)
    with link.here(opts, opts.database) as ours:
        link.require_primary(ours)
        names = link.names(opts, ours)
    return note.standing(target, (_database(opts, name) for name in names))


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


def _prepare(opts: Options, target: Target, names: Sequence[str]) -> Plan:
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


def _start(opts: Options, target: Target, names: Sequence[str]) -> Plan:
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


def _prove(opts: Options, target: Target, names: Sequence[str]) -> Plan:
    migrated = _followed(opts, names)

    def prove(tell: Progress) -> None:
        note.note(target, proven_at=None)
        proofs = []
        for name in migrated:
            _wait(opts, name, tell)
            with link.here(opts, name) as ours:
                link.refresh_views(ours, tell)
            proofs.append(migrate_proof.prove(opts, name, tell))
            last = proofs[-1]
            tell(f"{name}: {last.tables} tables with {last.rows} rows are equal on both sides")
        note.note_proof(target, proofs=[asdict(proof) for proof in proofs])

    return [watched(f"compare {', '.join(migrated)} with the other cluster", prove)]


def _followed(opts: Options, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        with link.here(opts, name) as ours:
            if link.subscribed(ours):
                found.append(name)
    if not found:
        raise Refused("No database here follows another cluster: run 'dbops migrate start' first.")
    return found


def _switch(opts: Options, target: Target, names: Sequence[str]) -> Plan:
    migrated = _followed(opts, names)
    if migrate_switch.is_done(opts, migrated):
        end = partial(migrate_switch.finish, opts, migrated)
        return [Action("end the switch that was interrupted: this cluster is open already", end)]
    note.require_proof(target, opts.migrate_proof_seconds)
    migrate_switch.require_ready(opts, migrated)

    def switch(tell: Progress) -> None:
        pause = migrate_switch.switch(opts, migrated, tell)
        note.note_switch(target, pause)

    return [watched(f"move the writers of {', '.join(migrated)} to this cluster", switch)]


def _follow(opts: Options, target: Target, names: Sequence[str]) -> Plan:
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


def _finish(opts: Options, target: Target, names: Sequence[str]) -> Plan:
    def remove(name: str) -> None:
        with link.here(opts, name) as ours:
            link.remove(opts, ours, name)

    return [
        Action(f"end the migration of database {name} here", partial(remove, name))
        for name in names
    ]


_PLANS: dict[MigrateStep, Callable[[Options, Target, Sequence[str]], Plan]] = {
    "prepare": _prepare,
    "start": _start,
    "prove": _prove,
    "switch": _switch,
    "follow": _follow,
    "finish": _finish,
}
