"""Options that commands share: which cluster, which backup, which time, and the confirmation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from dbops import engines, targets
from dbops.contract import Engine
from dbops.errors import ConfigError, DbopsError, Refused, UnsupportedVerb
from dbops.targets import Target

Command = TypeVar("Command", bound=Callable[..., Any])
Function = TypeVar("Function")

as_json = click.option("--json", "json_output", is_flag=True, help="Print JSON for programs.")
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")


def targets_dir() -> Path:
    """Return the directory of target files: ``DBOPS_TARGETS_DIR`` or the usual one."""
    return Path(os.environ.get("DBOPS_TARGETS_DIR") or targets.TARGETS_DIR)


def _complete_cluster(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    try:
        names = targets.names(targets_dir())
    except DbopsError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def cluster(command: Command) -> Command:
    """Add ``--cluster``, which may be left out where the host has one target."""
    return click.option(
        "--cluster",
        metavar="NAME",
        shell_complete=_complete_cluster,
        help="The cluster; may be left out on a host with one target.",
    )(command)


def confirm(command: Command) -> Command:
    """Add ``--confirm``, which must be the cluster's exact name."""
    return click.option(
        "--confirm",
        metavar="NAME",
        help="The cluster's exact name, against slips; asked for when left out.",
    )(command)


def backup_id(command: Command) -> Command:
    """Add ``--backup-id``."""
    return click.option(
        "--backup-id",
        metavar="ID",
        callback=_plain_id,
        help="A backup as named by 'dbops backup list'; the newest if left out.",
    )(command)


def pick(name: str | None) -> Target:
    """Return the target of the cluster called ``name``, or the host's only one."""
    directory = targets_dir()
    if name is not None:
        return targets.load(name, directory)
    known = targets.names(directory)
    if len(known) == 1:
        return targets.load(known[0], directory)
    if not known:
        raise ConfigError(f"No target in {directory}: run the monitor or backup playbook first.")
    raise ConfigError(
        f"Several clusters are known here: give --cluster, one of {', '.join(known)}."
    )


def pick_names(name: str | None) -> list[str]:
    """Return ``name`` alone, or every cluster of this host; ConfigError when there is none."""
    if name is not None:
        targets.find(name, targets_dir())
        return [name]
    known = targets.names(targets_dir())
    if not known:
        raise ConfigError(
            f"No target in {targets_dir()}: run the monitor or backup playbook first."
        )
    return known


def ability(target: Target, choose: Callable[[Engine], Function | None], what: str) -> Function:
    """Return the engine's function that ``choose`` picks; UnsupportedVerb when it has none."""
    engine = engines.get(target.engine)
    function = choose(engine)
    if function is None:
        raise UnsupportedVerb(f"{engine.title} has no {what}: see 'dbops engines'.")
    return function


def require_confirmation(target: Target, given: str | None, effect: str) -> None:
    """Go on only when the cluster's exact name was given or is typed now, else raise Refused."""
    if given is None:
        if not sys.stdin.isatty():
            raise Refused(f"This {effect}: give --confirm {target.cluster} to go on.")
        given = click.prompt(
            f"This {effect}. Type the cluster's name to go on",
            default="",
            show_default=False,
            err=True,
        )
    if given != target.cluster:
        raise Refused(
            f"{given!r} is not the name of the cluster {target.cluster!r}: nothing was done."
        )


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time with a zone as UTC; ConfigError says what is wrong with it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--time {text!r} is not an ISO 8601 time such as 2026-05-01T12:30:00Z."
        ) from None
    if moment.tzinfo is None:
        raise ConfigError(f"--time {text!r} has no zone: end it with Z or an offset like +02:00.")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"--time {text!r} is beyond the calendar.") from None


def _plain_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else plain_text(value, "--backup-id", path_like=False)


def plain_text(value: str, what: str, *, path_like: bool = True) -> str:
    """Return ``value`` unless it is empty, starts with '-' or has control characters.

    Without ``path_like`` a slash, a backslash and ``..`` are refused, too.
    """
    bad = not value or value.startswith("-") or not value.isprintable() or len(value) > 255
    if bad or (not path_like and ("/" in value or "\\" in value or value in {".", ".."})):
        raise ConfigError(f"{what} {value!r} cannot be a name of that kind: nothing was done.")
    return value
