"""``dbops migrate``: move a cluster to another one while applications write, and back."""

from __future__ import annotations

from dataclasses import dataclass

import click

from dbops.commands import options, output, plans
from dbops.contract import MigrateStep


@click.group()
def migrate() -> None:
    """Move a cluster to another one while applications write to it, with a way back.

    Each step is run on the primary of the side that its help names; playbooks/migrate.yml runs
    them in order on the right hosts.
    """


@dataclass(frozen=True)
class _Step:
    """One step as a command; with an ``effect`` it asks for the cluster's name first."""

    step: MigrateStep
    summary: str
    help: str
    done: str
    effect: str = ""


_STEPS = (
    _Step(
        "prepare",
        "On both sides: make what the other steps need.",
        "Refuses what could not be carried, such as tables without a replica identity, before "
        "anything is made. Again is harmless.",
        "{} is prepared. On the receiving side, go on with 'dbops migrate start'.",
    ),
    _Step(
        "start",
        "On the receiving side: copy everything and go on following.",
        "The definitions are carried over, the rows copied, and changes followed from then on. "
        "Applications can only read here meanwhile. When it was interrupted, run it again.",
        "{} follows the other cluster. Go on with 'dbops migrate prove'.",
    ),
    _Step(
        "prove",
        "On the receiving side: compare the content of both sides at one moment.",
        "Applications go on writing; they wait for some milliseconds while the moment is fixed.",
        "{} holds what the other cluster holds. Go on with 'dbops migrate switch'.",
    ),
    _Step(
        "switch",
        "On the receiving side: move the writers here.",
        "Needs a proof of the last day. The other side is closed for writes and its sessions are "
        "ended; when its last write is here, this side is opened. Nothing acknowledged is lost. "
        "Whatever fails before that leaves the other side open.",
        "{} takes the writes now. On the side that was left: 'dbops migrate follow'.",
        "moves all writers to {}",
    ),
    _Step(
        "follow",
        "On the side that was left: follow the other one, for the way back.",
        "The way back is 'prove' and 'switch' on this side.",
        "{} follows the cluster that took over.",
    ),
    _Step(
        "finish",
        "On both sides, the left one first: remove what the migration made.",
        "There is no way back afterwards. A side that was closed stays closed, so that nobody "
        "writes to it by mistake.",
        "The migration of {} is over here.",
        "ends the migration of {} and its way back",
    ),
)


def _command(step: _Step) -> click.Command:
    def run(
        cluster: str | None, dry_run: bool, json_output: bool, confirm: str | None = None
    ) -> None:
        target = options.pick(cluster)
        plan = options.ability(target, lambda engine: engine.plan_migrate, "migration")(
            target, step.step
        )
        plans.carry_out(
            target,
            plan,
            confirm if step.effect else target.cluster,
            step.effect.format(target.cluster),
            step.done.format(target.cluster),
            work="migration",
            dry_run=dry_run,
            json_output=json_output,
        )

    example = f"dbops migrate {step.step} --cluster flights" + (
        " --confirm flights" if step.effect else ""
    )
    run.__doc__ = f"{step.summary}\n\n{step.help}\n\n\b\nExample:\n  {example}\n"
    decorated = options.cluster(options.dry_run(options.as_json(run)))
    decorated = options.confirm(decorated) if step.effect else decorated
    return migrate.command(step.step, short_help=step.summary)(decorated)


for _each in _STEPS:
    _command(_each)


@migrate.command()
@options.cluster
@options.as_json
def status(cluster: str | None, json_output: bool) -> None:
    """Show how the migration of this host's cluster stands.

    \b
    Examples:
      dbops migrate status
      dbops migrate status --cluster flights --json
    """
    target = options.pick(cluster)
    found = options.ability(target, lambda engine: engine.migration, "migration")(target)
    if json_output:
        output.data(found)
        return
    output.table(
        ("database", "follows", "open for writes", "tables copied>", "behind>", "errors>"),
        [
            (
                one.database,
                "yes" if one.follows else "no",
                "yes" if one.open else "no",
                f"{one.copied} of {one.tables}",
                "-" if one.behind_bytes is None else output.size(one.behind_bytes),
                str(one.errors),
            )
            for one in found.databases
        ],
    )
    output.line(f"Content proven equal: {output.when(found.proven_at)}")
    output.line(
        f"Switched to this cluster: {output.when(found.switched_at)}, "
        f"writers waited {output.seconds(found.pause_seconds)}"
    )
