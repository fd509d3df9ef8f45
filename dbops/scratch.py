"""The scratch folder of a drill: made empty, marked as dbops' own, written to without following
links, and removed. What is *not* here: the server that runs in it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dbops import runner
from dbops.errors import ConfigError, Refused

_MARKER = ".dbops-scratch"
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_READ_LIMIT = 4 * 1024 * 1024


def create(root: Path, user: str, folders: Sequence[Path], stop: Callable[[], None]) -> None:
    """Make ``root`` and the empty ``folders`` of ``user`` in it; remove what a killed drill left.

    ``root`` itself is root's, so that a restored server cannot put anything in the folders' place.
    ``stop`` ends what still runs there. Raises ConfigError for a path that is odd or out of the
    account's reach, Refused when the folder holds what no drill has put there.
    """
    if not _PLAIN_PATH.fullmatch(str(root)) or ".." in root.parts:
        raise ConfigError(
            f"The option scratch_dir {str(root)!r} is not a plain absolute path: "
            "use letters, digits, '.', '_' and '-'."
        )
    remove(root, stop)
    account = pwd.getpwnam(user)
    root.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    root.mkdir()
    root.chmod(0o711)
    (root / _MARKER).touch()
    for folder in folders:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.pw_uid, account.pw_gid)
    request = runner.Command(("test", "-w", str(folders[0])), user=user)
    if runner.capture(request).status != 0:
        raise ConfigError(
            f"The account {user!r} cannot get into {root}: "
            "let it pass through the folders above, or set the option scratch_dir."
        )


def remove(root: Path, stop: Callable[[], None]) -> None:
    """Stop what runs in the scratch folder and delete it; Refused when it is not dbops' own."""
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise Refused(f"{root} is not a folder of dbops' own: remove it or set scratch_dir.")
    if not root.exists():
        return
    if any(root.iterdir()) and not (root / _MARKER).is_file():
        raise Refused(
            f"{root} holds files that no drill has put there: empty it or set scratch_dir."
        )
    stop()
    shutil.rmtree(root)


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


def read(path: Path) -> str:
    """Return the beginning of a plain file that the server wrote; OSError for anything else."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a plain file")
        return file.read(_READ_LIMIT)


def serving(pidfile: Path, data_dir: Path) -> int | None:
    """Return the process that ``pidfile`` names if it works in ``data_dir``, else None.

    A number left over in the file may belong to a stranger by now.
    """
    try:
        pid = int(read(pidfile).split("\n", 1)[0])
        here = os.path.samefile(f"/proc/{pid}/cwd", data_dir)
    except (OSError, ValueError):
        return None
    return pid if here else None
