"""Locks: one run at a time for each cluster and kind of work on this host.

The kernel drops a lock with the process that held it, so a killed run blocks nobody. What is *not*
here: a lock across hosts.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbops import handles
from dbops.errors import Busy, ConfigError
from dbops.targets import Target, state_folder

_PAUSE_SECONDS = 0.1


@contextmanager
def hold(target: Target, what: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold ``<state_dir>/<what>.lock`` (spaces as dashes) while the block runs.

    When another run holds it, waits for up to ``wait_seconds`` and then raises Busy, naming the
    holder's process id. Raises ConfigError when the lock file cannot be opened.
    """
    with state_folder(target.state_dir) as place:
        handle = _open(place, _name(what))
    try:
        end = time.monotonic() + wait_seconds
        while not _taken(handle):
            if time.monotonic() >= end:
                holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
                raise Busy(
                    f"Another {what} of {target.cluster!r} is running here "
                    f"(process {holder or 'unknown'}): wait for it, then run again."
                )
            time.sleep(_PAUSE_SECONDS)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def held(target: Target, what: str) -> bool:
    """Tell whether a run holds the lock now; False, too, where that cannot be found out.

    Who takes the lock in the same moment must wait for a little (``wait_seconds``).
    """
    try:
        with handles.folder(target.state_dir) as place:
            handle = place.open(_name(what))
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _name(what: str) -> str:
    return f"{what.replace(' ', '-')}.lock"


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(place: handles.Folder, name: str) -> int:
    path = Path(place.path) / name
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(name, flags, 0o640, dir_fd=place.handle)
    except OSError as error:
        raise ConfigError(f"The lock file {path} cannot be opened: {error.strerror}.") from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(handle)
        raise ConfigError(f"The lock file {path} is not a plain file: remove it and run again.")
    owner = os.fstat(place.handle)
    if os.geteuid() == 0:
        # A lock made by root must not shut out the timer that runs as the directory's owner.
        os.fchown(handle, owner.st_uid, owner.st_gid)
    elif found.st_uid == os.geteuid() and owner.st_gid in os.getgroups():
        os.fchown(handle, -1, owner.st_gid)  # who may look into the directory may look at it
    return handle
