"""Data directories that a restore sets aside: renamed, never removed but by an explicit command."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dbops import handles
from dbops.errors import Refused
from dbops.runner import Action, Command, Plan, Step

_SET_ASIDE = re.compile(r"\.set-aside-\d{8}T\d{6}Z")


def name(data_dir: Path) -> Path:
    """Return the name under which ``data_dir`` would be set aside now."""
    return data_dir.with_name(f"{data_dir.name}.set-aside-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def refuse_fixed(data_dir: Path) -> None:
    """Raise Refused when ``data_dir`` cannot be renamed, or is no directory at all."""
    if data_dir.is_symlink() or os.path.ismount(data_dir):
        raise Refused(
            f"{data_dir} is a mount point or a link and cannot be set aside by renaming: "
            "point data_dir at a directory inside it."
        )
    if data_dir.exists() and not data_dir.is_dir():
        raise Refused(f"{data_dir} is not a directory: nothing was changed.")


def refuse_without_space(data_dir: Path, needed_bytes: int, backup_id: str) -> None:
    """Raise Refused when the disk of ``data_dir`` cannot hold a backup beside what is there."""
    place = next(parent for parent in data_dir.parents if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise Refused(
            f"{place} has {free // 2**20} MiB free and a restore of {backup_id} needs "
            f"{needed_bytes // 2**20} MiB beside what is set aside: nothing was changed."
        )


def set_aside(data_dir: Path, aside: Path, refuse_running: Callable[[], object]) -> None:
    """Rename ``data_dir`` to ``aside``, asking once more that no server runs on it."""
    refuse_running()
    if aside.exists():
        raise Refused(f"{aside} exists already: run again.")
    try:
        above, name = handles.parent(data_dir)
        with above:
            there = above.handle
            os.rename(name, aside.name, src_dir_fd=there, dst_dir_fd=there)
    except OSError as error:
        raise Refused(f"{data_dir} cannot be set aside: {error.strerror}.") from None


def stop_service(service: str | None) -> tuple[Step, ...]:
    """Return the step that stops a server's unit, none where it has none.

    Stopping a stopped unit keeps the service manager from starting it meanwhile.
    """
    if service is None:
        return ()
    return (Command(("systemctl", "stop", service), title="stop the service"),)


def make_room(
    data_dir: Path,
    former: Path | None,
    refuse_running: Callable[[], object],
    account: str,
) -> tuple[Step, ...]:
    """Return the steps that set ``data_dir`` aside as ``former``, if anything, and make it anew."""
    new = Action(f"make the directory {data_dir}", partial(make, data_dir, account))
    if former is None:
        return (new,)
    move = partial(set_aside, data_dir, former, refuse_running)
    return (Action(f"rename {data_dir} to {former}", move), new)


def make(data_dir: Path, account: str) -> None:
    """Make an empty data directory that only ``account`` may enter, as the roles make one.

    Raises Refused when that cannot be done.
    """
    try:
        entry = pwd.getpwnam(account)
        ids = (entry.pw_uid, entry.pw_gid) if os.geteuid() == 0 else (-1, -1)
        with handles.make(data_dir, *ids, 0o700):
            pass
    except (OSError, KeyError) as error:
        raise Refused(f"{data_dir} cannot be made: {error}.") from None


def found(data_dir: Path) -> list[Path]:
    """Return the directories that earlier restores set aside, oldest first."""
    there = data_dir.parent.glob(f"{data_dir.name}.set-aside-*")
    return sorted(
        path
        for path in there
        if _SET_ASIDE.fullmatch(path.name.removeprefix(data_dir.name))
        and path.is_dir()
        and not path.is_symlink()
    )


def discard_steps(data_dir: Path) -> Plan:
    """Return the steps that remove what earlier restores set aside, for good."""
    return tuple(Action(f"remove {path} for good", _remover(path)) for path in found(data_dir))


def _remover(path: Path) -> Callable[[], None]:
    def remove() -> None:
        try:
            handles.remove_tree(path)
        except OSError as error:
            raise Refused(f"{path} cannot be removed whole: {error.strerror}.") from None

    return remove
