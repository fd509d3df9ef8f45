"""Restoring a member in place: the plan, its guards, and the removal of what was set aside.

Nothing is deleted by a restore: the former data directory is renamed and stays until
:func:`plan_discard`. What is *not* here: which backup and target (:mod:`.destination`), and what
happens from the start of the server on (:mod:`.recovery`).
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dbops.contract import RestoreRequest
from dbops.engines.postgresql import destination, options, pgbackrest, recovery
from dbops.engines.postgresql.destination import Destination
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, Refused
from dbops.runner import Action, Command, Plan, Step, capture
from dbops.targets import Target

_SET_ASIDE = re.compile(r"\.set-aside-\d{8}T\d{6}Z")


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
    _enough_space(data_dir, way)
    aside = data_dir.with_name(f"{data_dir.name}.set-aside-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    kept = f"the former data is kept in {aside}" if occupied else "there was no former data"
    return (
        *_stop(opts),
        *_make_room(opts, data_dir, aside if occupied else None),
        _restore(opts, data_dir, way, kept),
        Action(
            f"remove standby.signal from {data_dir}, so that the server opens for writing",
            partial(_remove_standby_signal, data_dir),
        ),
        *recovery.steps(target, opts, way, aside if occupied else None, kept),
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
    if data_dir.is_symlink() or os.path.ismount(data_dir):
        raise Refused(
            f"{data_dir} is a mount point or a link and cannot be set aside by renaming: "
            "point data_dir at a directory inside it."
        )
    if not data_dir.exists():
        return False
    if not data_dir.is_dir():
        raise Refused(f"{data_dir} is not a directory: nothing was changed.")
    if not any(data_dir.iterdir()):
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


def _enough_space(data_dir: Path, way: Destination) -> None:
    place = next(parent for parent in data_dir.parents if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < way.backup.size:
        raise Refused(
            f"{place} has {free // 2**20} MiB free and backup {way.backup.label} needs "
            f"{way.backup.size // 2**20} MiB beside what is set aside: nothing was changed."
        )


def _stop(opts: Options) -> tuple[Step, ...]:
    """Stopping a stopped unit keeps the service manager from starting it meanwhile."""
    if opts.service is None:
        return ()
    return (Command(("systemctl", "stop", opts.service), title="stop the service"),)


def _make_room(opts: Options, data_dir: Path, aside: Path | None) -> tuple[Step, ...]:
    account = opts.os_user
    if aside is None:
        return (Action(f"make the directory {data_dir}", partial(_make, data_dir, account)),)
    return (
        Action(f"rename {data_dir} to {aside}", partial(_set_aside, data_dir, aside)),
        Action(f"make the directory {data_dir}", partial(_make, data_dir, account)),
    )


def _set_aside(data_dir: Path, aside: Path) -> None:
    _refuse_running(data_dir)
    if aside.exists():
        raise Refused(f"{aside} exists already: run again.")
    try:
        data_dir.rename(aside)
    except OSError as error:
        raise Refused(f"{data_dir} cannot be set aside: {error.strerror}.") from None


def _make(data_dir: Path, account: str) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(account)
            os.chown(data_dir, entry.pw_uid, entry.pw_gid)
    except (OSError, KeyError) as error:
        raise Refused(f"{data_dir} cannot be made: {error}.") from None


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
    (data_dir / "standby.signal").unlink(missing_ok=True)


def set_aside_dirs(data_dir: Path) -> list[Path]:
    """Return the directories that earlier restores set aside, oldest first."""
    found = data_dir.parent.glob(f"{data_dir.name}.set-aside-*")
    return sorted(
        path
        for path in found
        if _SET_ASIDE.fullmatch(path.name.removeprefix(data_dir.name))
        and path.is_dir()
        and not path.is_symlink()
    )


def plan_discard(target: Target) -> Plan:
    """Return the steps that remove what restores set aside, once the restored server is proven.

    Raises Refused when the server is not up or the last restore did not end verified.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    found = set_aside_dirs(data_dir)
    if not found:
        return ()
    recovery.prove(target, opts)
    return tuple(Action(f"remove {path} for good", _remover(path)) for path in found)


def _remover(path: Path) -> Callable[[], None]:
    def remove() -> None:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise Refused(f"{path} cannot be removed whole: {error.strerror}.") from None

    return remove
