"""``dbops backup``: take, list, verify and expire."""

from __future__ import annotations

import time
from typing import cast, get_args

import click

from dbops import lock, runner
from dbops.commands import options, output
from dbops.contract import Backup, BackupRequest, RecoveryWindow
from dbops.errors import VerificationFailed
from dbops.manifest import Kind, Manifest, omissions

_NAMED = 5


@click.group()
def backup() -> None:
    """Take, list, verify and expire backups. Run it on the host that keeps them."""


@backup.command()
@options.cluster
@click.option(
    "--type",
    "kind",
    type=click.Choice(get_args(Kind)),
    default="full",
    show_default=True,
    help="What to take.",
)
@click.option(
    "--fingerprint/--no-fingerprint",
    default=True,
    show_default=True,
    help="Record the content, which a drill compares the restored data with.",
)
@click.option(
    "--accept-smaller",
    is_flag=True,
    help="The data did shrink: this full backup is the measure for later ones.",
)
@click.option(
    "--automatic",
    is_flag=True,
    help="Neither a person nor the schedule asks: this full backup takes no other one's place.",
)
@options.dry_run
@options.as_json
def take(
    cluster: str | None,
    kind: str,
    fingerprint: bool,
    accept_smaller: bool,
    automatic: bool,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Take a backup and record its content's fingerprint.

    A second one at the same time ends with status 8. A full one of less than half of the former
    data is kept, but ends with status 6, and nothing expires until one is as large again or is
    taken with --accept-smaller.

    \b
    Examples:
      dbops backup take
      dbops backup take --cluster flights --type incremental
      dbops backup take --accept-smaller
    """
    for name, given in (("--accept-smaller", accept_smaller), ("--automatic", automatic)):
        if given and kind != "full":
            raise click.UsageError(f"{name} goes with full backups only.")
    target = options.pick(cluster)
    run = options.ability(target, lambda engine: engine.take_backup, "backup")
    if dry_run:
        output.line(f"Would take a {kind} backup of {target.cluster}.")
        return
    request = BackupRequest(cast(Kind, kind), fingerprint, automatic, accept_smaller)
    started = time.monotonic()
    # A log backup goes on every minute, while a full one may take hours.
    work = "log backup" if kind == "log" else "backup"
    with lock.hold(target, work), output.progress() as progress:
        manifest = run(target, request, progress)
    if json_output:
        output.data(manifest)
        return
    output.line(
        f"Backup {manifest.backup_id} ({manifest.kind}) of {target.cluster}: "
        f"{output.size(manifest.bytes_read)} read, {output.size(manifest.bytes_stored)} stored, "
        f"{_rows(manifest)} rows recorded, {output.seconds(time.monotonic() - started)}."
    )
    output.omitted(omissions(*(one.omitted for one in manifest.fingerprints)))


def _rows(manifest: Manifest | None) -> str:
    if manifest is None or not manifest.fingerprints:
        return "-"
    return f"{sum(fingerprint.rows for fingerprint in manifest.fingerprints):,}"


@backup.command("list")
@options.cluster
@options.as_json
def list_command(cluster: str | None, json_output: bool) -> None:
    """List the backups that can be restored, oldest first, and the times that can be restored to.

    \b
    Examples:
      dbops backup list
      dbops backup list --cluster flights --json
    """
    target = options.pick(cluster)
    found = options.ability(target, lambda engine: engine.catalogue, "backup catalogue")(target)
    if json_output:
        output.data(found)
        return
    columns = ("Backup", "Kind", "Complete", "Read>", "Stored>", "Encrypted", "Manifest", "Rows>")
    output.table(columns, [_row(one) for one in found.backups], title=target.cluster)
    if found.window is None:
        output.line("Nothing can be restored: no complete backup is here.")
    else:
        output.line(
            f"Can be restored to any time from {output.when(found.window.oldest)} "
            f"to {output.when(found.window.newest)}{_gaps(found.window)}."
        )
    if found.doubt is not None:
        output.line(found.doubt)


def _gaps(window: RecoveryWindow) -> str:
    """Return the times between them that cannot be had, the newest ones by name."""
    named = [f"{output.when(begin)} and {output.when(end)}" for begin, end in window.gaps]
    if not named:
        return ""
    more = f", nor in {len(named) - _NAMED} older gaps" if len(named) > _NAMED else ""
    return f", but not between {', '.join(named[-_NAMED:])}{more}"


def _row(one: Backup) -> list[str]:
    return [
        one.backup_id + (" (damaged)" if one.error else ""),
        one.kind + (" (automatic)" if one.manifest and one.manifest.automatic else ""),
        output.when(one.stop),
        output.size(one.bytes_read),
        output.size(one.bytes_stored),
        "yes" if one.encrypted else "no",
        "yes" if one.manifest else "no",
        _rows(one.manifest),
    ]


@backup.command()
@options.cluster
@options.as_json
def verify(cluster: str | None, json_output: bool) -> None:
    """Read back every stored file and compare it with its checksum.

    Ends with status 6 and names the files when one is damaged or missing.

    \b
    Examples:
      dbops backup verify
      dbops backup verify --cluster flights --json
    """
    target = options.pick(cluster)
    run = options.ability(target, lambda engine: engine.verify, "backup verification")
    with output.progress() as progress:
        result = run(target, progress)
    if json_output:
        output.data(result)
    elif not result.problems:
        output.line(f"{result.files_checked} files of {target.cluster} were read back: all sound.")
    else:
        for problem in result.problems:
            output.line(problem)
    if result.problems:
        named = "; ".join(result.problems[:_NAMED])
        more = len(result.problems) - _NAMED
        raise VerificationFailed(
            f"The backups of {target.cluster} are not sound: {named}"
            + (f"; and {more} more." if more > 0 else ".")
        )


@backup.command()
@options.cluster
@options.backup_id
@options.confirm
@options.dry_run
def expire(cluster: str | None, backup_id: str | None, confirm: str | None, dry_run: bool) -> None:
    """Remove backups beyond retention, or one backup and all that build on it.

    \b
    Examples:
      dbops backup expire --dry-run
      dbops backup expire --confirm flights
      dbops backup expire --backup-id 20260501-120000F --confirm flights
    """
    target = options.pick(cluster)
    plan = options.ability(target, lambda engine: engine.plan_expire, "backup expiry")(
        target, backup_id
    )
    if dry_run:
        for step in runner.describe(plan):
            output.line(step)
        return
    what = f"backup {backup_id!r}" if backup_id else "the backups beyond retention"
    options.require_confirmation(target, confirm, f"removes {what} of {target.cluster} for good")
    with lock.hold(target, "backup"), output.progress() as progress:
        runner.run(plan, lambda step: progress(step.title or step.describe()), progress)
    output.line(f"Expired {what} of {target.cluster}.")
