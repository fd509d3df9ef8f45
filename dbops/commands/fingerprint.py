"""``dbops fingerprint``: record the content of a cluster, or compare it with a recorded one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from dbops import files, lock, status
from dbops.commands import options, output
from dbops.errors import ConfigError, VerificationFailed
from dbops.manifest import Difference, Fingerprint, compare
from dbops.targets import Target, first_complaint


@click.command("fingerprint")
@options.cluster
@click.option(
    "--output",
    "output_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the fingerprint to this file.",
)
@click.option(
    "--compare",
    "compare_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Compare the content with the fingerprint in this file.",
)
@click.option(
    "--members",
    "members",
    is_flag=True,
    help="Compare every replica with the primary, on the host that keeps the backups.",
)
@options.as_json
def fingerprint_command(
    cluster: str | None,
    output_file: Path | None,
    compare_file: Path | None,
    members: bool,
    json_output: bool,
) -> None:
    """Count and checksum the rows of every table, without holding up writers.

    With --compare or --members it ends with status 6 when anything differs.

    \b
    Examples:
      dbops fingerprint --output before.json
      dbops fingerprint --compare before.json
      dbops fingerprint --members
    """
    target = options.pick(cluster)
    if members:
        if output_file is not None or compare_file is not None:
            raise ConfigError("--members compares servers with each other and with no file.")
        _compare_members(target, json_output)
        return
    take = options.ability(target, lambda engine: engine.fingerprint, "fingerprint")
    expected = None if compare_file is None else read(compare_file)
    with output.progress() as progress:
        found = tuple(take(target, progress))
    if output_file is not None:
        files.write(output_file, output.as_json(found) + "\n")
    if expected is not None:
        was, now = one(expected), one(found)
        if was.algorithm != now.algorithm:
            raise ConfigError(
                f"{compare_file} was taken with {was.algorithm}, not {now.algorithm}."
            )
        differences = compare(was, now)
        _show_differences(differences, json_output)
        if differences:
            raise VerificationFailed(
                f"The content of {target.cluster} differs from {compare_file} "
                f"in {len(differences)} places."
            )
    elif json_output:
        output.data(found)
    elif output_file is None:
        _show(found)


def _compare_members(target: Target, json_output: bool) -> None:
    run = options.ability(target, lambda engine: engine.compare_members, "comparison of members")
    with (
        lock.hold(target, "comparison"),
        status.comparing(target) as note,
        output.progress() as progress,
    ):
        found = run(target, progress)
        note(found)
    if json_output:
        output.data(found)
    for member, differences in found.differences.items():
        if not json_output and differences:
            output.line(f"{member} differs from {found.primary}:")
            _show_differences(differences, False)
    for member, why in found.skipped.items():
        output.line(f"{member} was not compared: {why}")
    differ = [name for name, each in found.differences.items() if each]
    if differ or found.skipped:
        raise VerificationFailed(
            f"At {found.point}, not every member of {target.cluster} was found to have what "
            f"{found.primary} has: {', '.join((*differ, *found.skipped))}."
        )
    if not json_output:
        output.line(f"At {found.point}, every member of {target.cluster} has the same content.")


def read(path: Path) -> tuple[Fingerprint, ...]:
    """Return the fingerprints in a file; ConfigError says what is wrong with it."""
    try:
        return TypeAdapter(tuple[Fingerprint, ...]).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise ConfigError(f"{path} is not a fingerprint: {first_complaint(error)}.") from None


def one(parts: Sequence[Fingerprint]) -> Fingerprint:
    """Return the databases of several fingerprints as one."""
    if not parts:
        raise ConfigError("The fingerprint is empty: it says nothing that could be compared.")
    if len({part.algorithm for part in parts}) > 1:
        raise ConfigError("The fingerprint mixes algorithms: take it again.")
    databases = tuple(database for part in parts for database in part.databases)
    omitted = tuple(one for part in parts for one in part.omitted)
    return parts[0].model_copy(update={"databases": databases, "omitted": omitted})


def _show(found: Sequence[Fingerprint]) -> None:
    output.table(
        ["Database", "Table", "Rows>", "Checksum"],
        [
            [database.database, table.name, f"{table.rows:,}", table.checksum]
            for fingerprint in found
            for database in fingerprint.databases
            for table in database.tables
        ],
    )
    for fingerprint in found:
        output.omitted(fingerprint.omitted)
        output.line(
            f"At {fingerprint.point}: {fingerprint.rows:,} rows, "
            f"{output.size(fingerprint.bytes_read)} in {output.seconds(fingerprint.seconds)}."
        )


def _show_differences(differences: Sequence[Difference], json_output: bool) -> None:
    if json_output:
        output.data(list(differences))
    elif not differences:
        output.line("The content is the same.")
    else:
        output.table(
            ["Database", "Table", "What", "Expected", "Found"],
            [[d.database, d.table, d.what, d.expected, d.found] for d in differences],
        )
