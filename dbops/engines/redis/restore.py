"""Restoring a member in place: the plan, its guards, and the removal of what was set aside.

Nothing is deleted by a restore: the former data directory is renamed and stays until
:func:`plan_discard`. What is *not* here: which backup and time (:mod:`.destination`), how the files
are made (:mod:`.refill`), and what happens from the server's start on (:mod:`.recovery`).
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from dbops.contract import RestoreRequest
from dbops.engines.redis import catalogue, destination, options, processes, recovery, refill
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.errors import Refused
from dbops.options import require_part
from dbops.repository.restic import Repository
from dbops.restore import set_aside
from dbops.runner import Action, OnLine, Plan, Step, capture
from dbops.targets import Target

_OWN = ("appendonlydir", "dump.rdb", "nodes.conf")
_TEMPORARY = ("temp-", ".nfs")


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps that put the cluster's data on this member back as it was.

    Raises Refused over a running server, a directory that holds something else or a time out of
    reach, ConfigError for what does not exist or what the server here cannot read.
    """
    require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    if not request.rehearsal:
        _refuse_running(data_dir)
    occupied = _occupied(data_dir)
    repo = catalogue.open_(target, opts)
    way = destination.choose(opts, repo, request)
    set_aside.refuse_without_space(data_dir, way.size, f"backup {way.full.backup_id}")
    former = set_aside.name(data_dir)
    kept = f"the former data is kept in {former}" if occupied else "there was no former data"
    return (
        *set_aside.stop_service(opts.service),
        *set_aside.make_room(data_dir, former if occupied else None, _refuse_running, opts.os_user),
        *_fill(opts, repo, way, data_dir, kept),
        *recovery.steps(target, opts, way, former if occupied else None, kept),
    )


def _refuse_running(data_dir: Path) -> None:
    found = processes.working_in(data_dir)
    if found:
        raise Refused(
            f"A server is running on {data_dir} (process {found[0]}): stop it before a restore."
        )


def _occupied(data_dir: Path) -> bool:
    """Return whether there is a former data directory to set aside; refuse anything else."""
    set_aside.refuse_fixed(data_dir)
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return False
    strangers = [
        path.name
        for path in data_dir.iterdir()
        if path.name not in _OWN and not path.name.startswith(_TEMPORARY)
    ]
    if strangers:
        raise Refused(
            f"{data_dir} holds {sorted(strangers)[0]!r}, which is not Redis' own: "
            "nothing was changed."
        )
    return True


def _fill(
    opts: Options, repo: Repository, way: Destination, data_dir: Path, kept: str
) -> tuple[Step, ...]:
    user = opts.os_user if os.geteuid() == 0 else None

    def fetch(tell: OnLine) -> None:
        refill.fetch(repo, way, data_dir, user, tell)
        refill.same_base(data_dir, way.full)

    what = "base and log" if way.log is not None else "base"
    steps: list[Step] = [
        Action(
            f"fetch {what} of {way.full.backup_id} into {data_dir}, to {way.words} ({kept})",
            partial(fetch, lambda line: None),
            watched=fetch,
        )
    ]
    if way.until is not None and way.log is not None:
        steps.append(
            Action(f"cut the log after {way.words}", partial(_cut, opts, data_dir, way, user))
        )
    steps.append(Action("let check-aof read every file", partial(_checked, opts, data_dir, user)))
    return tuple(steps)


def _cut(opts: Options, data_dir: Path, way: Destination, user: str | None) -> None:
    assert way.until is not None
    refill.cut(opts, data_dir, way.until, capture)
    refill.own(data_dir, user, linked=False)


def _checked(opts: Options, data_dir: Path, user: str | None) -> None:
    refill.check(opts, data_dir, capture)
    refill.own(data_dir, user, linked=False)


def plan_discard(target: Target) -> Plan:
    """Return the steps that remove what restores set aside, once the restored server is proven.

    Raises Refused when the server is not up or the last restore did not end verified.
    """
    require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    if not set_aside.found(data_dir):
        return ()
    recovery.prove(target, opts)
    return set_aside.discard_steps(data_dir)
