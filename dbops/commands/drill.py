"""``dbops drill``: prove a backup by restoring it, and show what was proven before."""

from __future__ import annotations

from pathlib import Path

import click

from dbops import files, lock
from dbops.commands import options, output
from dbops.contract import DrillRequest, DrillResult
from dbops.drill import history, report
from dbops.errors import VerificationFailed


@click.group()
def drill() -> None:
    """Prove that backups restore, cut off from production. Run it on the drill host."""


@drill.command("run")
@options.cluster
@options.backup_id
@options.dry_run
@options.as_json
def run_command(
    cluster: str | None, backup_id: str | None, dry_run: bool, json_output: bool
) -> None:
    """Restore a backup in isolation, compare its content and measure RPO and RTO.

    Ends with status 6 unless every step was done and held and both objectives were met.

    \b
    Examples:
      dbops drill run
      dbops drill run --cluster flights --backup-id 20260501-120000F
    """
    target = options.pick(cluster)
    run = options.ability(target, lambda engine: engine.run_drill, "drill")
    if dry_run:
        output.line(f"Would restore {backup_id or 'the newest backup'} of {target.cluster} here.")
        return
    with lock.hold(target, "drill"), output.progress() as progress:
        result = run(target, DrillRequest(backup_id=backup_id), progress)
        file = history.save(target, result)
    if json_output:
        output.data(result)
    else:
        _show(result, file)
    if not result.proven:
        raise VerificationFailed(
            f"The drill of {target.cluster} from {_from(result)} did not prove it: "
            f"{result.reason.rstrip('.')}."
        )


def _from(result: DrillResult) -> str:
    return f"backup {result.backup_id}" if result.backup_id else "the newest backup"


def _show(result: DrillResult, file: Path) -> None:
    output.table(
        ["Step", "Result", "Took>", "Detail"],
        [
            [step.name, "OK" if step.ok else "FAILED", output.seconds(step.seconds), step.detail]
            for step in result.steps
        ],
        title=f"{result.cluster} from {result.backup_id}",
    )
    if result.tables:
        output.table(
            ["Database", "Table", "Rows expected>", "Rows found>", "Content"],
            [
                [
                    table.database,
                    table.table,
                    f"{table.rows_expected:,}",
                    "-" if table.rows_found is None else f"{table.rows_found:,}",
                    "OK" if table.equal else "FAILED",
                ]
                for table in result.tables
            ],
        )
    output.omitted(result.omitted)
    output.line(
        f"RPO {output.seconds(result.rpo_seconds)} "
        f"(objective {output.seconds(result.rpo_objective_seconds)}), "
        f"RTO {output.seconds(result.rto_seconds)} "
        f"(objective {output.seconds(result.rto_objective_seconds)}), "
        f"{output.size(result.bytes_restored)} restored: "
        f"{'proven' if result.proven else 'NOT PROVEN'}. Recorded in {file}."
    )


@drill.command("history")
@options.cluster
@options.as_json
def history_command(cluster: str | None, json_output: bool) -> None:
    """List the drills done on this host, oldest first.

    \b
    Examples:
      dbops drill history
      dbops drill history --cluster flights --json
    """
    target = options.pick(cluster)
    results = history.load(target, output.note)
    if json_output:
        output.data(results)
        return
    output.table(
        ["Began", "Backup", "Result", "RPO>", "RTO>", "Restored>", "Reason"],
        [
            [
                output.when(result.started_at),
                result.backup_id,
                "proven" if result.proven else "NOT PROVEN",
                output.seconds(result.rpo_seconds),
                output.seconds(result.rto_seconds),
                output.size(result.bytes_restored),
                result.reason,
            ]
            for result in results
        ],
        title=target.cluster,
    )


@drill.command("report")
@options.cluster
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where to write the page; '-' for standard output.  [default: drills/report.html in the "
    "state directory]",
)
def report_command(cluster: str | None, file: Path | None) -> None:
    """Write the newest drill and its history as one self-contained HTML page.

    \b
    Examples:
      dbops drill report
      dbops drill report --cluster flights --output /tmp/flights.html
    """
    target = options.pick(cluster)
    page = report.render(target, history.load(target, output.note))
    if file is not None and str(file) == "-":
        click.echo(page)
        return
    path = file or history.directory(target) / "report.html"
    files.write(path, page)
    output.line(str(path))
