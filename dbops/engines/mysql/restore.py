"""Restoring a member in place: the plan, its guards, and the removal of what was set aside.

Nothing is deleted by a restore: the former data directory is renamed and stays until
:func:`plan_discard`. Binary log that only this member has is replayed too. What is *not* here:
which backup and point (:mod:`.destination`), and what happens from the replay on
(:mod:`.recovery`).
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from dbops.contract import Progress, RestoreRequest
from dbops.engines.mysql import destination, flavor, options, private_server, recovery, refill
from dbops.engines.mysql.destination import Destination, Work
from dbops.engines.mysql.options import Options
from dbops.errors import ConfigError, Refused
from dbops.repository import catalogue
from dbops.restore import set_aside
from dbops.runner import Action, Plan, Step
from dbops.targets import Target

_FETCHED_TO = ".restore"


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps that put the cluster's data on this member back as it was.

    Raises Refused over a running server or a directory that holds something else, ConfigError for
    a point that cannot be had or a version that does not fit, VerificationFailed for missing log.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    set_aside.refuse_fixed(data_dir)
    if not request.rehearsal:
        refuse_running(data_dir)
    occupied = _occupied(data_dir)
    live = request.rehearsal and running_process(data_dir) is not None
    repo = catalogue.open_repository(target, opts)
    own = destination.own_files(data_dir, target.member) if occupied else []
    way = destination.choose(repo, request, own, live)
    _same_version(opts, way)
    needed = way.bytes + way.log_bytes
    set_aside.refuse_without_space(
        data_dir, needed, f"backup {way.manifest.backup_id} with its log"
    )
    former = set_aside.name(data_dir) if occupied else None
    work = Work(repo, way, data_dir.with_name(data_dir.name + _FETCHED_TO))
    kept = f"the former data is kept in {former}" if former else "there was no former data"
    return (
        *_steps(opts, work, data_dir, former, kept),
        *recovery.steps(target, opts, work, former),
    )


def _steps(
    opts: Options, work: Work, data_dir: Path, former: Path | None, kept: str
) -> tuple[Step, ...]:
    way = work.way
    return (
        Action(
            f"fetch the binary log to {work.log} and find {way.words} in it",
            partial(fetch, opts, work, lambda line: None),
            watched=partial(fetch, opts, work),
        ),
        *set_aside.stop_service(opts.service),
        *set_aside.make_room(data_dir, former, refuse_running, opts.os_user),
        Action(
            f"restore {', '.join(entry.backup_id for entry in way.entries)} to {data_dir} and "
            f"prepare it ({kept})",
            partial(_put_back, opts, work, lambda line: None),
            watched=partial(_put_back, opts, work),
        ),
    )


def fetch(opts: Options, work: Work, tell: Progress) -> None:
    """Bring the log here and make the way exact, before anything is stopped or moved."""
    refill.make(work.folder, None)
    work.log.mkdir(mode=0o700)
    root = refill.fetch_log(work.repo, work.way, work.log, tell)
    work.way = destination.fetched(work.way, root)
    for file in work.way.chain.left_out:
        tell(f"{file.words} holds transactions of another branch: they are not replayed")
    tell(f"{work.way.chain.files} files of binary log, to {work.way.until or work.way.chain.end}")


def _put_back(opts: Options, work: Work, tell: Progress) -> None:
    place, limit = recovery.place(opts, work), opts.restore_time_limit_seconds
    refill.put_back(work.repo, work.way, place, work.folder, limit, tell)


def refuse_running(data_dir: Path) -> None:
    """Raise Refused while a server runs on ``data_dir``."""
    process = running_process(data_dir)
    if process is not None:
        raise Refused(
            f"A server is running on {data_dir} (process {process}): stop it before a restore."
        )


def running_process(data_dir: Path) -> int | None:
    """Return the process that works in ``data_dir``, None when none does."""
    try:
        place = data_dir.stat()
    except OSError:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            here = (entry / "cwd").stat()
            name = (entry / "comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if os.path.samestat(here, place) and name in ("mariadbd", "mysqld"):
            return int(entry.name)
    return None


def _occupied(data_dir: Path) -> bool:
    """Return whether there is a former data directory to set aside; refuse anything else."""
    try:
        if not data_dir.exists() or not any(data_dir.iterdir()):
            return False
    except PermissionError:
        raise Refused(f"{data_dir} may not be read by this account: run dbops as root.") from None
    known = ("ibdata1", "mysql", "backup-my.cnf", "aria_log_control")
    if not any((data_dir / name).exists() for name in known):
        raise Refused(
            f"{data_dir} holds files and is not a data directory of the server: nothing was "
            "changed."
        )
    links = [path.name for path in data_dir.iterdir() if path.is_symlink()]
    if links:
        raise Refused(
            f"{data_dir} has data outside itself (the link {links[0]!r}), which setting aside "
            "would leave behind: restore to another host, or move it away by hand first."
        )
    return True


def _same_version(opts: Options, way: Destination) -> None:
    here, manifest = private_server.version(flavor.named(opts.flavor)), way.manifest
    if here != manifest.version:
        raise ConfigError(
            f"Backup {manifest.backup_id} was made by version {manifest.version} of the server and "
            f"this host has {here}: restore it on a host with {manifest.version}."
        )


def plan_discard(target: Target) -> Plan:
    """Return the steps that remove what restores set aside, once the restored server is proven.

    Raises Refused when the server is not up or the last restore did not end verified.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    steps = set_aside.discard_steps(data_dir)
    left = data_dir.with_name(data_dir.name + _FETCHED_TO)
    if not steps and not left.exists():
        return ()
    recovery.prove(target, opts)
    if left.exists():
        remove = partial(shutil.rmtree, left, ignore_errors=True)
        return (*steps, Action(f"remove {left}, which a restore had fetched", remove))
    return steps
