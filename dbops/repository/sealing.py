"""Taking over what one account added under a folder, so that it cannot change it afterwards.

Run every few seconds as a program of its own (``python -I -m dbops.repository.sealing``), so it
imports nothing but the standard library. The account may change names while this runs; therefore
every folder and file is opened once, relative to its folder and without following a link, and only
the open handle is asked, given away and given its mode. What is *not* here: who may write where.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
import time

DIRECTORY_MODE = 0o3770  # setgid and sticky: see docs/design/0002-sealed-archive.md
FILE_MODE = 0o640
UNFINISHED = ".pgbackrest.tmp"  # what pgBackRest is still writing
DEEPEST = 8  # pgBackRest itself goes to three
_NEWS_SECONDS = 60
_TOLD = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Odd:
    """Something that is left as it is: where, why, and when it last changed."""

    def __init__(self, path: str, reason: str, changed: float) -> None:
        self.path, self.reason, self.changed = path, reason, changed


class Seal:
    """From which account to which other one, and what was met on the way.

    ``take`` false changes nothing: whatever is not the keeper's, is odd.
    """

    def __init__(self, stranger: int, keeper: int, group: int, *, take: bool = True) -> None:
        self.stranger, self.keeper, self.group, self.take = stranger, keeper, group, take
        self.odd: list[Odd] = []
        self.sealed = 0


def walk(folder: int, path: str, seal: Seal, depth: int = 0) -> None:
    """Seal everything below the open directory ``folder``; OSError only if it cannot be listed."""
    for name in os.listdir(folder):
        place = f"{path}/{name}"
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                _directory(folder, name, place, seal, depth + 1)
            elif found.st_uid != seal.keeper or not stat.S_ISREG(found.st_mode):
                _file(folder, name, place, seal, found)
        except FileNotFoundError:
            continue  # renamed or expired meanwhile; a new name is met at the next run
        except OSError as error:
            seal.odd.append(Odd(place, error.strerror or "cannot be opened", time.time()))


def _directory(folder: int, name: str, place: str, seal: Seal, depth: int) -> None:
    handle = os.open(name, _FOLDER, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if depth > DEEPEST:
            seal.odd.append(Odd(place, "deeper than any folder that belongs here", found.st_ctime))
            return
        if found.st_uid != seal.keeper:
            _give(handle, place, seal, found, DIRECTORY_MODE)
        walk(handle, place, seal, depth)
    finally:
        os.close(handle)


def _file(folder: int, name: str, place: str, seal: Seal, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "neither a file nor a folder"
        seal.odd.append(Odd(place, kind, found.st_ctime))
    elif not name.endswith(UNFINISHED):
        handle = os.open(name, _FILE, dir_fd=folder)
        try:
            _give(handle, place, seal, os.fstat(handle), FILE_MODE)
        finally:
            os.close(handle)


def _give(handle: int, place: str, seal: Seal, found: os.stat_result, mode: int) -> None:
    """Give an open file or folder to the keeper, unless it is none of the stranger's."""
    if found.st_uid != seal.stranger:
        seal.odd.append(Odd(place, "belongs to another account", found.st_ctime))
    elif not stat.S_ISDIR(found.st_mode) and found.st_nlink != 1:
        seal.odd.append(Odd(place, "a file with a second name", found.st_ctime))
    elif not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        seal.odd.append(Odd(place, "neither a file nor a folder", found.st_ctime))
    elif not seal.take:
        seal.odd.append(Odd(place, "not sealed", found.st_ctime))
    else:
        # First, so that what is being written goes on; last, because the former owner could have
        # changed it until it was given away.
        os.fchmod(handle, mode)
        os.fchown(handle, seal.keeper, seal.group)
        os.fchmod(handle, mode)
        seal.sealed += 1


def run(archive: str, stranger: str, keeper: str, *, take: bool = True) -> Seal:
    """Seal what is below ``archive``; return what was done. OSError, KeyError when it cannot be."""
    owner = pwd.getpwnam(keeper)
    seal = Seal(pwd.getpwnam(stranger).pw_uid, owner.pw_uid, owner.pw_gid, take=take)
    handle = os.open(archive, _FOLDER)
    try:
        walk(handle, archive, seal)
    finally:
        os.close(handle)
    return seal


def main(argv: list[str]) -> int:
    """Seal ARCHIVE, which STRANGER adds to, for KEEPER; tell of what is odd while it is new."""
    if len(argv) != 3:
        return _fail("usage: python -I -m dbops.repository.sealing ARCHIVE STRANGER KEEPER")
    try:
        seal = run(*argv)
    except KeyError as error:
        return _fail(f"There is no such account ({error.args[0]}): run provision.")
    except OSError as error:
        return _fail(f"{argv[0]} cannot be sealed: {error.strerror}.")
    now = time.time()
    for odd in [one for one in seal.odd if now - one.changed < _NEWS_SECONDS][:_TOLD]:
        sys.stderr.write(f"left as it is: {odd.path!a}: {odd.reason}\n")
    return 0


def _fail(words: str) -> int:
    sys.stderr.write(f"{words}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
