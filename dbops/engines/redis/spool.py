"""The log since one full backup, kept by hard links until the next full backup is complete.

The replica removes its increments when it has a new base. While that new base is still on its way
into the repository, the former full backup and *all* increments since it are what can be restored;
so each increment is linked here before it can vanish. A base that the replica made by copying all
from the primary goes on from nothing: its log belongs to no full backup until there is a new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbops import files, handles
from dbops.engines.redis import aof, stream
from dbops.engines.redis.aof import Extent
from dbops.errors import ConfigError, VerificationFailed
from dbops.runner import Command

_BASES = "bases.json"
_EXTENTS = "extents.json"
_NUMBER = re.compile(r"\.(\d+)\.incr\.aof$")


@dataclass(frozen=True)
class Part:
    """One increment and how much of it is whole."""

    path: Path
    extent: Extent


@dataclass(frozen=True)
class Spool:
    """The folder of links of one full backup."""

    folder: Path

    def exists(self) -> bool:
        """Tell whether it was begun."""
        return (self.folder / _BASES).is_file()

    def begin(self, base_id: str, owner: str | None) -> None:
        """Make the folder for a full backup whose base is ``base_id``."""
        make(self.folder, owner)
        files.write(self.folder / _BASES, json.dumps([base_id]) + "\n", shared=True)

    def bases(self) -> list[str]:
        """Return the bases whose increments go on from this full backup, in order."""
        try:
            found = json.loads((self.folder / _BASES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [str(one) for one in found] if isinstance(found, list) else []

    def goes_on(self, base_id: str) -> None:
        """Note that the increments of ``base_id`` go on where the former ones end."""
        text = json.dumps([*self.bases(), base_id]) + "\n"
        files.write(self.folder / _BASES, text, shared=True)

    def link(self, found: aof.Files) -> None:
        """Link every increment that is there now."""
        for path in found.increments:
            place = self.folder / path.name
            try:
                if place.exists() and place.samefile(path):
                    continue
                place.unlink(missing_ok=True)
                os.link(path, place)
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be linked into {self.folder}: {error.strerror}; both must be "
                    "on one file system and belong to the account of the backups."
                ) from None

    def measure(self) -> list[Part]:
        """Return the log, whole to the end of its last complete command.

        Raises VerificationFailed when an increment that is closed ends within a command.
        """
        known = self._known()
        paths = sorted(self.folder.glob(f"{aof.NAME}.*.incr.aof"), key=_number)
        parts = []
        for path in paths:
            before = known.get(path.name)
            if before is not None and before.end > path.stat().st_size:
                before = None
            parts.append(Part(path, aof.measure(path, before)))
        for part in parts[:-1]:
            if part.extent.end != part.path.stat().st_size:
                raise VerificationFailed(f"The log {part.path} ends within a command.")
        extents = {part.path.name: asdict(part.extent) for part in parts}
        files.write(self.folder / _EXTENTS, json.dumps(extents) + "\n", shared=True)
        return parts

    def _known(self) -> dict[str, Extent]:
        try:
            found = json.loads((self.folder / _EXTENTS).read_text(encoding="utf-8"))
            return {name: Extent(**about) for name, about in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def remove(self) -> None:
        """Remove the links; files that the replica still uses stay there."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _number(path: Path) -> int:
    match = _NUMBER.search(path.name)
    return int(match[1]) if match else 0


def size(parts: list[Part]) -> int:
    """Return the bytes of the whole log."""
    return sum(part.extent.end for part in parts)


def newest(parts: list[Part]) -> datetime | None:
    """Return the second of the last commands in the log, None when it tells none."""
    stamps = [part.extent.stamp for part in parts if part.extent.stamp is not None]
    return datetime.fromtimestamp(max(stamps), UTC) if stamps else None


def producer(parts: list[Part], user: str | None) -> Command:
    """Return the command that writes the whole log, one increment after the other."""
    words = [sys.executable, "-I", str(Path(stream.__file__))]
    for part in parts:
        words += [str(part.path), str(part.extent.end)]
    return Command(tuple(words), title="reading the log", user=user)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Mark a folder as that of a run that goes on; the kernel takes the mark from a killed one."""
    with _marked(folder, fcntl.LOCK_SH):
        yield


def left_over(folder: Path) -> bool:
    """Tell whether no run that goes on has marked a folder as its own.

    One that may not be looked into is another account's.
    """
    try:
        with _marked(folder, fcntl.LOCK_EX):
            return True
    except OSError:
        return False


@contextmanager
def _marked(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def make(folder: Path, owner: str | None) -> None:
    """Make a folder that ``owner`` and nobody else may enter; None keeps the present account."""
    try:
        account = pwd.getpwnam(owner) if owner is not None and os.geteuid() == 0 else None
        with handles.ensure(folder, mode=0o700) as place:
            if account is not None:
                os.fchown(place.handle, account.pw_uid, account.pw_gid)
    except (OSError, KeyError) as error:
        raise ConfigError(f"{folder} cannot be made: {error}.") from None
