"""``dbops fleet`` and ``dbops play``: what is done from the controller."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dbops.commands import output
from dbops.commands.checks import STATUS_COLUMNS, status_row
from dbops.commands.options import as_json
from dbops.errors import CommandFailed, Unreachable

inventory = click.option(
    "-i",
    "--inventory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="INVENTORY",
    help="An Ansible inventory.",
)
limit = click.option("--limit", metavar="PATTERN", help="Only the hosts that match.")


@click.group()
def fleet() -> None:
    """Ask all hosts of an inventory at once."""


@fleet.command("status")
@inventory
@limit
@click.option(
    "--timeout", default=15.0, show_default=True, metavar="SECONDS", help="Longest wait for a host."
)
@as_json
def status_command(inventory: Path, limit: str | None, timeout: float, json_output: bool) -> None:
    """Show how every target on every host stands. Host keys are checked.

    Ends with status 4 when a host cannot be reached, 5 when one cannot answer.

    \b
    Examples:
      dbops fleet status -i inventories/lab
      dbops fleet status -i inventories/lab --limit pg1 --json
    """
    from dbops.control.fleet import ask
    from dbops.control.inventory import hosts

    answers = ask(hosts(inventory, limit), timeout)
    if json_output:
        output.data(answers)
    else:
        rows = [
            [answer.host, *status_row(target)] for answer in answers for target in answer.targets
        ]
        output.table(["Host", *STATUS_COLUMNS], rows)
    failed = [answer for answer in answers if answer.error]
    for answer in failed:
        output.note(f"{answer.host}: {answer.error}")
    if not failed:
        return
    names = ", ".join(answer.host for answer in failed)
    count = f"{len(failed)} of {len(answers)} hosts gave no answer: {names}."
    raise (CommandFailed if all(answer.reached for answer in failed) else Unreachable)(count)


@click.command()
@click.argument("verb")
@inventory
@limit
@click.option("--check", is_flag=True, help="Change nothing; say what would be changed.")
@click.option("--diff", is_flag=True, help="Show the changes.")
@click.option(
    "-e",
    "--extra-vars",
    multiple=True,
    metavar="@FILE|NAME=VALUE",
    help="Variables; secrets only in a file.",
)
@click.option(
    "--project-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="here or above",
    help="Where playbooks and roles are.",
)
@click.option(
    "--keep-artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what ansible-runner recorded; it is removed otherwise.",
)
@as_json
def play(
    verb: str,
    inventory: Path,
    limit: str | None,
    check: bool,
    diff: bool,
    extra_vars: tuple[str, ...],
    project_dir: Path,
    keep_artifacts: Path | None,
    json_output: bool,
) -> None:
    """Run the playbook of a VERB on the hosts of an inventory, with progress.

    \b
    Examples:
      dbops play site -i inventories/lab
      dbops play secure -i inventories/lab --check --diff
      dbops play backup -i inventories/lab -e @secrets.yml
    """
    from dbops.control import play as playing

    request = playing.Request(
        verb=verb,
        inventory=inventory,
        project_dir=playing.project(project_dir),
        limit=limit,
        check=check,
        diff=diff,
        extra_vars=extra_vars,
        keep_artifacts=keep_artifacts.resolve() if keep_artifacts else None,
    )
    with output.progress(keep=True) as progress:
        outcome = playing.run(request, progress)
    if json_output:
        output.data(outcome.hosts)
        return
    words = ("ok", "changed", "failed", "unreachable")
    output.table(
        ["Host", *(f"{word}>" for word in words)],
        [[host, *(str(counts[word]) for word in words)] for host, counts in outcome.hosts.items()],
    )
    sys.stdout.flush()
