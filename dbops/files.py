"""Files that are written whole or not at all, also when the run is killed or the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from dbops import handles
from dbops.errors import ConfigError


def write(path: Path, text: str, *, shared: bool = False) -> None:
    """Write ``text`` in UTF-8 to ``path``, mode 0640; whoever reads meets the old or the new.

    A ``shared`` file stays on this host for the accounts of dbops: missing folders are made (0750),
    the file gets the owner of its folder (the group only, unless root writes), and its name is
    flushed to the disk too. Any other file belongs to the caller, and its folder must be there.
    Raises ConfigError when it cannot be written; nothing half written is left.
    """
    try:
        with handles.ensure(path.parent) if shared else handles.folder(path.parent) as place:
            owner = _owner(os.fstat(place.handle)) if shared else (-1, -1)
            place.write(path.name, text.encode(), *owner, 0o640)
            if shared:
                place.sync()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _owner(folder: os.stat_result) -> tuple[int, int]:
    """Return to whom a file in ``folder`` is to be given, -1 for what stays as it is."""
    if os.geteuid() == 0:
        return folder.st_uid, folder.st_gid
    if folder.st_gid in (os.getegid(), *os.getgroups()):
        return -1, folder.st_gid
    return -1, -1
