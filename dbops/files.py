"""Files that are written whole or not at all, also when the run is killed or the disk is full."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dbops.errors import ConfigError


def write(path: Path, text: str, *, shared: bool = False) -> None:
    """Write ``text`` in UTF-8 to ``path``, mode 0640; whoever reads meets the old or the new.

    A ``shared`` file stays on this host for the accounts of dbops: missing folders are made (0750),
    the file gets the owner of its folder (the group only, unless root writes), and its name is
    flushed to the disk too. Any other file belongs to the caller, and its folder must be there.
    Raises ConfigError when it cannot be written; nothing half written is left.
    """
    try:
        if shared:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _replace(path, text, path.parent.stat() if shared else None)
        if shared:
            _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _replace(path: Path, text: str, owner: os.stat_result | None) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o640)
            if owner is not None:
                _give(file.fileno(), owner)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _give(handle: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    elif owner.st_gid in (os.getegid(), *os.getgroups()):
        os.fchown(handle, -1, owner.st_gid)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
