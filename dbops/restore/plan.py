"""A restore in place of any engine, and the removal of what was set aside: the frame conducts.

An engine answers by an :class:`~.inplace.InPlace`, a record of its own functions. The frame alone
decides what is refused, in which words, and the order of the steps. Nothing is deleted by a
restore: the former data directory is renamed and stays until :func:`discard`. What is *not* here:
what is done from the start of the restored server on (:mod:`.proof`).
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from dbops.contract import RestoreRequest
from dbops.errors import ConfigError, Refused
from dbops.restore import proof, set_aside
from dbops.restore.inplace import D, DataDir, InPlace
from dbops.runner import Action, Plan
from dbops.targets import Target


def plan(target: Target, request: RestoreRequest, engine: InPlace[D]) -> Plan:
    """Return the steps that put the cluster's data on this member back as it was.

    Raises Refused over a running server or a directory that holds something else, ConfigError for
    a point that cannot be had or a version that does not fit, VerificationFailed for missing log.
    """
    data = engine.data
    live = _running(data, allowed=request.rehearsal)
    occupied = _occupied(data)
    way = engine.choose(request, live)
    set_aside.refuse_without_space(data.path, way.room, way.backup_id)
    former = set_aside.name(data.path) if occupied else None
    kept = f"the former data is kept in {former}" if former else "there was no former data"
    return (
        *(engine.before(way) if engine.before is not None else ()),
        *set_aside.stop_service(data.service),
        *set_aside.make_room(data.path, former, partial(_running, data), data.account),
        *engine.fill(way, kept),
        *proof.steps(target, engine, way, former, kept),
        *_removal(data.beside),
    )


def _running(data: DataDir, *, allowed: bool = False) -> bool:
    """Return whether a server works in the data directory; Refused for one unless ``allowed``."""
    process = data.serving()
    if process is not None and not allowed:
        raise Refused(
            f"A server is running on {data.path} (process {process}): stop it before a restore."
        )
    return process is not None


def _occupied(data: DataDir) -> bool:
    """Return whether there is a former data directory to set aside; refuse anything else."""
    try:
        set_aside.refuse_fixed(data.path)
        if not data.path.exists() or not any(data.path.iterdir()):
            return False
        foreign = data.foreign()
        outside = data.outside() if data.outside is not None else None
    except PermissionError:
        raise Refused(f"{data.path} may not be read by this account: run dbops as root.") from None
    if foreign is not None:
        raise Refused(f"{data.path} {foreign}: nothing was changed.")
    if outside is not None:
        raise Refused(
            f"{data.path} has {outside}, which setting aside would leave behind: "
            "restore to another host, or move them away by hand first."
        )
    return True


def require_version(backup_id: str, server: str, wanted: str, here: str) -> None:
    """Raise ConfigError unless this host has the version of ``server`` that made the backup."""
    if here != wanted:
        raise ConfigError(
            f"Backup {backup_id} was made by {server} {wanted} and this host has {server} {here}: "
            f"restore it on a host with {wanted}."
        )


def discard(target: Target, engine: InPlace[D]) -> Plan:
    """Return the steps that remove what restores set aside, once the restored server is proven.

    Raises Refused when the server is not up or the last restore did not end verified.
    """
    steps = set_aside.discard_steps(engine.data.path)
    beside = engine.data.beside
    left = beside if beside is not None and beside.exists() else None
    if not steps and left is None:
        return ()
    proof.require_sound(target, engine)
    return (*steps, *_removal(left, ", which a restore had fetched"))


def _removal(folder: Path | None, words: str = "") -> Plan:
    if folder is None:
        return ()
    return (Action(f"remove {folder}{words}", partial(shutil.rmtree, folder, ignore_errors=True)),)
