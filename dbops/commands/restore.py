"""``dbops restore``: put a backup back, and remove what it replaced."""

from __future__ import annotations

from dataclasses import replace

import click

from dbops.commands import options, plans
from dbops.contract import RestoreRequest
from dbops.errors import ConfigError


@click.group()
def restore() -> None:
    """Restore a cluster from its backups. Run it on the host to restore."""


@restore.command("run")
@options.cluster
@options.backup_id
@click.option("--time", "moment", metavar="TIME", help="To this time: ISO 8601 with a zone or Z.")
@click.option(
    "--point", metavar="POINT", help="To this position of the log, as the engine names it."
)
@click.option("--name", metavar="NAME", help="To this named restore point.")
@options.confirm
@options.dry_run
@options.as_json
def run_command(
    cluster: str | None,
    backup_id: str | None,
    moment: str | None,
    point: str | None,
    name: str | None,
    confirm: str | None,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Restore a cluster in place: to the newest moment, or to a time, a log position or a name.

    The data directory that is replaced is set aside, not removed: see 'dbops restore discard'.

    \b
    Examples:
      dbops restore run --cluster flights --dry-run
      dbops restore run --cluster flights --confirm flights
      dbops restore run --cluster flights --time 2026-05-01T12:30:00Z --confirm flights
    """
    target = options.pick(cluster)
    request = replace(_request(backup_id, moment, point, name), rehearsal=dry_run)
    plan = options.ability(target, lambda engine: engine.plan_restore, "restore")(target, request)
    plans.carry_out(
        target,
        plan,
        confirm,
        f"replaces the data of {target.cluster} on this host",
        f"Restored {target.cluster}. When you have seen that all is well, remove the data "
        f"directory set aside: dbops restore discard --cluster {target.cluster}.",
        dry_run=dry_run,
        json_output=json_output,
    )


def _request(
    backup_id: str | None, moment: str | None, point: str | None, name: str | None
) -> RestoreRequest:
    if sum(value is not None for value in (moment, point, name)) > 1:
        raise ConfigError("Give one of --time, --point and --name: a restore ends at one point.")
    return RestoreRequest(
        backup_id=backup_id,
        time=None if moment is None else options.parse_time(moment),
        point=None if point is None else options.plain_text(point, "--point"),
        name=None if name is None else options.plain_text(name, "--name"),
    )


@restore.command()
@options.cluster
@options.dry_run
@options.as_json
def salvage(cluster: str | None, dry_run: bool, json_output: bool) -> None:
    """Archive the log that only this stopped member still has, so that a restore loses less.

    For a cluster that was stopped to be restored: the restored server begins a new history, and
    the old one must not go on after this. playbooks/restore.yml does it by itself.

    \b
    Examples:
      dbops restore salvage --cluster flights --dry-run
      dbops restore salvage --cluster flights
    """
    target = options.pick(cluster)
    plan = options.ability(target, lambda engine: engine.plan_salvage, "restore")(target)
    plans.carry_out(
        target,
        plan,
        target.cluster,
        "archives the log of this member",
        f"Archived {len(plan)} log files of {target.cluster} that only this member had.",
        dry_run=dry_run,
        json_output=json_output,
    )


@restore.command()
@options.cluster
@options.confirm
@options.dry_run
@options.as_json
def discard(cluster: str | None, confirm: str | None, dry_run: bool, json_output: bool) -> None:
    """Remove the data directory that the last restore set aside.

    \b
    Examples:
      dbops restore discard --cluster flights --dry-run
      dbops restore discard --cluster flights --confirm flights
    """
    target = options.pick(cluster)
    plan = options.ability(target, lambda engine: engine.plan_discard, "restore")(target)
    plans.carry_out(
        target,
        plan,
        confirm,
        f"removes the replaced data of {target.cluster} for good",
        f"Removed the replaced data of {target.cluster}.",
        dry_run=dry_run,
        json_output=json_output,
    )
