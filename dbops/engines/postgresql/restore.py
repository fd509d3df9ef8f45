"""Restoring a member in place: the plan, its guards, and the removal of what was set aside.

Nothing is deleted by a restore: the former data directory is renamed and stays until
:func:`plan_discard`. What is *not* here: which backup and target (:mod:`.destination`), and what
happens from the start of the server on (:mod:`.recovery`).
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from dbops import handles
from dbops.contract import RestoreRequest
from dbops.engines.postgresql import destination, options, pgbackrest, recovery
from dbops.engines.postgresql.destination import Destination
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, Refused
from dbops.restore import set_aside
from dbops.runner import Action, Command, Plan, capture
from dbops.targets import Target


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps that put the cluster's data on this member back as it was.

    Raises Refused over a running server or a directory that holds something else, ConfigError for
    a point that cannot be had or a version that does not fit, VerificationFailed for missing log.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    if not request.rehearsal:
        _refuse_running(data_dir)
    occupied = _occupied(data_dir)
    live = request.rehearsal and running_process(data_dir) is not None
    way = destination.choose(opts, request, live=live)
    _same_version(opts, way)
    set_aside.refuse_without_space(data_dir, way.backup.size, f"backup {way.backup.label}")
    former = set_aside.name(data_dir)
    kept = f"the former data is kept in {former}" if occupied else "there was no former data"
    return (
        *set_aside.stop_service(opts.service),
        *set_aside.make_room(data_dir, former if occupied else None, _refuse_running, opts.os_user),
        _restore(opts, data_dir, way, kept),
        Command(
            ("chmod", "-R", "g+rX", str(data_dir)),
            title="let pgBackRest's server read it, which has the group",
            user=opts.os_user if os.geteuid() == 0 else None,
        ),
        Action(
            f"remove standby.signal from {data_dir}, so that the server opens for writing",
            partial(_remove_standby_signal, data_dir),
        ),
        *recovery.steps(target, opts, way, former if occupied else None, kept),
    )


def _refuse_running(data_dir: Path) -> None:
    process = running_process(data_dir)
    if process is not None:
        raise Refused(
            f"A server is running on {data_dir} (process {process}): stop it before a restore."
        )


def running_process(data_dir: Path) -> int | None:
    """Return the process id of the server that runs on ``data_dir``, None when none does."""
    try:
        process = int((data_dir / "postmaster.pid").read_text(encoding="ascii").split("\n")[0])
        os.kill(process, 0)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except PermissionError:
        raise Refused(f"{data_dir} may not be read by this account: run dbops as root.") from None
    except (ValueError, OSError, UnicodeDecodeError):
        raise Refused(
            f"{data_dir}/postmaster.pid is not readable: make sure that no server runs on it, "
            "then remove that file."
        ) from None
    return process if _is_server(process, data_dir) else None


def _is_server(process: int, data_dir: Path) -> bool:
    """A process id left by a crash may by now belong to something else."""
    try:
        return Path(f"/proc/{process}/cwd").resolve(strict=True) == data_dir.resolve()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _occupied(data_dir: Path) -> bool:
    """Return whether there is a former data directory to set aside; refuse anything else."""
    set_aside.refuse_fixed(data_dir)
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return False
    if not (data_dir / "PG_VERSION").is_file() and not (data_dir / "backup.manifest").is_file():
        raise Refused(
            f"{data_dir} holds files and is not a PostgreSQL data directory: nothing was changed."
        )
    tablespaces = data_dir / "pg_tblspc"
    if tablespaces.is_dir() and any(tablespaces.iterdir()):
        raise Refused(
            f"{data_dir} has tablespaces outside itself, which setting aside would leave behind: "
            "restore to another host, or move them away by hand first."
        )
    return True


def _same_version(opts: Options, way: Destination) -> None:
    binary = opts.require_path("bin_dir") / "postgres"
    said = capture(Command((str(binary), "--version"), timeout_seconds=30)).stdout
    match = re.search(r"PostgreSQL\) (\d+)", said)
    here = match[1] if match else "unknown"
    if here != way.version:
        raise ConfigError(
            f"Backup {way.backup.label} was made by PostgreSQL {way.version} and this host has "
            f"PostgreSQL {here}: restore it on a host with {way.version}."
        )


def _restore(opts: Options, data_dir: Path, way: Destination, kept: str) -> Command:
    command = pgbackrest.command(
        opts,
        "restore",
        "--log-level-console=info",
        f"--pg1-path={data_dir}",
        f"--set={way.backup.label}",
        *way.flags,
    )
    return Command(
        argv=command.argv,
        title=f"pgBackRest restore of {way.backup.label} to {way.words} ({kept})",
        user=command.user,
    )


def _remove_standby_signal(data_dir: Path) -> None:
    handles.remove(data_dir / "standby.signal")


def plan_discard(target: Target) -> Plan:
    """Return the steps that remove what restores set aside, once the restored server is proven.

    Raises Refused when the server is not up or the last restore did not end verified.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    steps = set_aside.discard_steps(data_dir)
    if steps:
        recovery.prove(target, opts)
    return steps
