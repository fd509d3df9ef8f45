"""The scratch folder of a drill: made empty, marked as dbops' own, written to without following
links, and removed. What is *not* here: the server that runs in it.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dbops import handles, runner
from dbops.accounts import acting_as
from dbops.errors import CommandFailed, ConfigError, Refused

_MARKER = ".dbops-scratch"
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_READ_LIMIT = 4 * 1024 * 1024
_END_SECONDS = 30.0


def create(root: Path, user: str, folders: Sequence[Path], stop: Callable[[], None]) -> None:
    """Make ``root`` and the empty ``folders`` of ``user`` in it; remove what a killed drill left.

    ``root`` itself is root's, so that a restored server cannot put anything in the folders' place.
    ``user`` is who fetches what is restored; :func:`give` hands it on. ``stop`` ends what still
    runs there. Raises ConfigError for a path that is odd, could be replaced by another account or
    is out of the account's reach, Refused when the folder holds what no drill has put there.
    """
    if not _PLAIN_PATH.fullmatch(str(root)) or ".." in root.parts:
        raise ConfigError(
            f"The option scratch_dir {str(root)!r} is not a plain absolute path: "
            "use letters, digits, '.', '_' and '-'."
        )
    if doubt := handles.changeable_by_others(root):
        raise ConfigError(f"The scratch folder is not safe: {doubt}, or set scratch_dir.")
    remove(root, stop)
    account = pwd.getpwnam(user)
    with handles.make(root, mode=0o711) as made:
        made.write(_MARKER, b"", mode=0o644)
        for folder in folders:
            with made.make(folder.name, account.pw_uid, account.pw_gid):
                pass
    _require_reach(folders[0], user)


def give(folders: Sequence[Path], user: str) -> None:
    """Hand the folders with all that was fetched to the drill's account, following no link.

    Raises ConfigError when the account cannot get there, OSError when there is what cannot be
    given.
    """
    account = pwd.getpwnam(user)
    for folder in folders:
        handles.give(folder, account.pw_uid, account.pw_gid)
    _require_reach(folders[0], user)


def _require_reach(folder: Path, user: str) -> None:
    request = runner.Command(("/usr/bin/test", "-w", str(folder)), user=user)
    if runner.capture(request).status != 0:
        raise ConfigError(
            f"The account {user!r} cannot get into {folder.parent}: "
            "let it pass through the folders above, or set the option scratch_dir."
        )


def remove(root: Path, stop: Callable[[], None]) -> None:
    """Stop what runs in the scratch folder and delete it; Refused when it is not dbops' own."""
    try:
        above, name = handles.parent(root)
    except FileNotFoundError:
        return
    with above:
        found = above.look(name)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(f"{root} is not a folder of dbops' own: remove it or set scratch_dir.")
        with above.enter(name) as inside:
            marker = inside.look(_MARKER)
            if os.listdir(inside.handle) and not (marker and stat.S_ISREG(marker.st_mode)):
                raise Refused(
                    f"{root} holds files that no drill has put there: empty it or set scratch_dir."
                )
        stop()
        above.remove_tree(name)


def end(folders: Sequence[Path], accounts: Collection[str]) -> None:
    """End every process of ``accounts`` that works in one of ``folders``: what a killed drill left.

    The cell dies with the drill that made it; this is for one that could not, and for what an
    older version left behind. CommandFailed when something does not end.
    """
    limit = time.monotonic() + _END_SECONDS
    while left := [pid for account in accounts for pid in _end_those_of(account, folders)]:
        if time.monotonic() > limit:
            raise CommandFailed(f"Process {left[0]} in {folders[0]} does not end: look at it.")
        time.sleep(0.05)


def _end_those_of(account: str, folders: Sequence[Path]) -> list[int]:
    """Kill the account's processes in ``folders`` and return which were there.

    Acting as the account, dbops needs no right to see others' processes.
    """
    places = {(found.st_dev, found.st_ino) for found in map(_stat, folders) if found}
    found = []
    with acting_as(account):
        for entry in Path("/proc").iterdir():
            here = _stat(entry / "cwd") if entry.name.isdigit() else None
            if here is None or (here.st_dev, here.st_ino) not in places or _own(entry, account):
                continue
            found.append(int(entry.name))
            with suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
    return found


def _own(process: Path, account: str) -> bool:
    """Tell whether a process is dbops itself, or of another account than ``account``."""
    found = _stat(process)
    return (
        process.name == str(os.getpid())
        or found is None
        or found.st_uid != pwd.getpwnam(account).pw_uid
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def put(path: Path, text: str, user: str | None = None) -> None:
    """Write a file anew, for ``user`` alone, or without one readable by all and root's.

    Root writes where the restored server may have been at work: no link of its making is followed.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path.name, flags, 0o600, dir_fd=folder), "w") as file:
            file.write(text)
            if user is None:
                os.fchmod(file.fileno(), 0o644)
            else:
                account = pwd.getpwnam(user)
                os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
    finally:
        os.close(folder)


def forget(path: Path) -> None:
    """Remove a file or link that the server may have made, if it is there."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
    finally:
        os.close(folder)


def read(path: Path) -> str:
    """Return the beginning of a plain file that the server wrote; OSError for anything else."""
    with _plain(path) as file:
        return file.read(_READ_LIMIT).decode("utf-8", "replace")


def _plain(path: Path) -> BinaryIO:
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a plain file")
    return file


def tail(path: Path, size: int) -> str:
    """Return the last ``size`` bytes of a plain file that the server wrote; OSError as read()."""
    with _plain(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size).decode("utf-8", "replace")
