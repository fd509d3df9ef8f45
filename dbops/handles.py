"""Files and folders by handle, for root's work in places that other accounts had their hands on.

A path is looked up anew at each call that takes it. Whoever owns one of its folders can put a link
there meanwhile, and root's ``chown`` or ``open`` then goes where the link points. Here a path is
walked once, folder by folder, without following a link that is not trusted, and everything after
that is done in the opened folder (openat(2), "Rationale for openat() and other directory file
descriptor APIs").

*Trusted* are root and the account that runs. A link is followed only if they own it and nobody else
may rename it or the folders above it. :class:`Unsafe` says what was refused.

Ansible modules ship this same file to hosts as ``module_utils/handles.py``: it needs nothing but
the standard library of Python 3.11.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import shutil
import stat
from types import TracebackType

_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # as many as Linux follows: path_resolution(7)


class Unsafe(OSError):
    """A path leads where another account wants; ``strerror`` is the sentence, without a period."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EPERM, sentence)

    def __str__(self) -> str:
        return str(self.strerror)


class Folder:
    """An open folder; every method works in it, wherever its path leads by now.

    ``path`` is what it was opened by, ``handle`` its descriptor (for ``dir_fd``), and ``safe``
    tells that only trusted accounts may rename what is in it, or in a folder above it. A context
    manager: it is closed at the end of the block. All methods raise OSError, and Unsafe where they
    say so.
    """

    def __init__(self, path: str, handle: int, safe: bool) -> None:
        self.path, self.handle, self.safe = path, handle, safe

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.handle)

    def look(self, name: str) -> os.stat_result | None:
        """Return what is known of ``name``, of a link itself; None when it is not there."""
        try:
            return os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str) -> int:
        """Return a new handle, for reading, of the file or folder ``name``; the caller closes it.

        Unsafe when it is a link or no file, or has a second name and others may write here: that
        name could be one of a file elsewhere.
        """
        found = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        self._require_plain(name, found)
        handle = os.open(name, _READ, dir_fd=self.handle)
        try:
            self._require_plain(name, os.fstat(handle))
        except BaseException:
            os.close(handle)
            raise
        return handle

    def read(self, name: str) -> bytes:
        """Return the content of the file ``name``; Unsafe as :meth:`open`."""
        with os.fdopen(self.open(name), "rb") as file:
            return file.read()

    def own(self, name: str, uid: int, gid: int, mode: int) -> None:
        """Give what exists as ``name`` this owner, group and mode; -1 leaves one as it is.

        Unsafe as :meth:`open`.
        """
        handle = self.open(name)
        try:
            _own(handle, uid, gid, mode)
        finally:
            os.close(handle)

    def make(self, name: str, uid: int = -1, gid: int = -1, mode: int = 0o700) -> Folder:
        """Make the folder ``name``, which must not exist, and return it open.

        Unsafe when another account put something in its place before it was opened.
        """
        os.mkdir(name, 0o700, dir_fd=self.handle)
        handle = os.open(name, _FOLDER, dir_fd=self.handle)
        made = Folder(os.path.join(self.path, name), handle, self.safe)
        try:
            if os.fstat(handle).st_uid != os.geteuid() or os.listdir(handle):
                raise Unsafe(f"{made.path} was replaced while it was made: look who can do that")
            _own(handle, uid, gid, mode)
        except BaseException:
            os.close(handle)
            raise
        made.safe = self.safe and not _changeable(os.fstat(handle))
        return made

    def enter(self, name: str) -> Folder:
        """Return the folder ``name`` in this one, open; Unsafe when it is a link."""
        self._refuse_link(name, os.stat(name, dir_fd=self.handle, follow_symlinks=False))
        handle = os.open(name, _FOLDER, dir_fd=self.handle)
        safe = self.safe and not _changeable(os.fstat(handle))
        return Folder(os.path.join(self.path, name), handle, safe)

    def write(
        self, name: str, content: bytes, uid: int = -1, gid: int = -1, mode: int = 0o640
    ) -> None:
        """Write the file ``name`` whole: readers meet the old one or the new one.

        A link of that name is replaced, never followed. IsADirectoryError when it is a folder.
        """
        temporary = f".dbops-{secrets.token_hex(8)}"
        handle = os.open(temporary, _NEW, 0o600, dir_fd=self.handle)
        try:
            with os.fdopen(handle, "wb") as file:
                _own(handle, uid, gid, mode)
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.rename(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            self.remove(temporary)
            raise

    def link(self, name: str, target: str) -> None:
        """Make ``name`` a symbolic link to ``target``, in place of a file or link of that name."""
        temporary = f".dbops-{secrets.token_hex(8)}"
        os.symlink(target, temporary, dir_fd=self.handle)
        try:
            os.rename(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            self.remove(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove the file or link ``name``; nothing happens when it is not there."""
        try:
            os.unlink(name, dir_fd=self.handle)
        except FileNotFoundError:
            return

    def remove_tree(self, name: str) -> None:
        """Remove the folder ``name`` with all that is below it, following no link."""
        shutil.rmtree(name, dir_fd=self.handle)

    def sync(self) -> None:
        """Flush the names in this folder to the disk."""
        os.fsync(self.handle)

    def _require_plain(self, name: str, found: os.stat_result) -> None:
        self._refuse_link(name, found)
        path = os.path.join(self.path, name)
        if stat.S_ISDIR(found.st_mode):
            return
        if not stat.S_ISREG(found.st_mode):
            raise Unsafe(f"{path} is neither a file nor a folder: remove it and run again")
        if found.st_nlink > 1 and not self.safe:
            raise Unsafe(
                f"{path} has a second name elsewhere (a hard link), and accounts other than "
                f"{_name(os.geteuid())} may write in {self.path}: look who made it, remove it and "
                "run again"
            )

    def _refuse_link(self, name: str, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            raise _foreign_link(self.path, name, found)


def folder(path: str | os.PathLike[str]) -> Folder:
    """Open the folder at ``path``, following trusted links only.

    Raises Unsafe at any other link, and OSError where the folder cannot be opened.
    """
    return _walk(path, make=False)


def parent(path: str | os.PathLike[str]) -> tuple[Folder, str]:
    """Open the folder that holds ``path`` and return it with the last name of ``path``."""
    above, name = os.path.split(os.path.abspath(path))
    return folder(above), name


def ensure(path: str | os.PathLike[str], mode: int = 0o750) -> Folder:
    """Open the folder at ``path``; one that is absent is made for the running account.

    What is there stays as it is. Raises as folder().
    """
    try:
        return folder(path)
    except FileNotFoundError:
        return make(path, mode=mode)


def make(path: str | os.PathLike[str], uid: int = -1, gid: int = -1, mode: int = 0o755) -> Folder:
    """Make or take the folder at ``path``, with this owner, group and mode, and return it open.

    Missing folders above it are made for the running account, mode 0755. Raises as folder().
    """
    found = _walk(path, make=True)
    try:
        _own(found.handle, uid, gid, mode)
    except BaseException:
        os.close(found.handle)
        raise
    return found


def write(
    path: str | os.PathLike[str], content: bytes, uid: int = -1, gid: int = -1, mode: int = 0o640
) -> None:
    """Write the file at ``path`` whole, see :meth:`Folder.write`; its folder must be there."""
    above, name = parent(path)
    with above:
        above.write(name, content, uid, gid, mode)


def read(path: str | os.PathLike[str]) -> bytes:
    """Return the content of the file at ``path``, which is no link, see :meth:`Folder.read`."""
    above, name = parent(path)
    with above:
        return above.read(name)


def read_own(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file that a trusted account owns; Unsafe for anybody else's."""
    above, name = parent(path)
    with above:
        found = os.stat(name, dir_fd=above.handle, follow_symlinks=False)
        if not _trusted(found.st_uid):
            raise Unsafe(
                f"{path} belongs to {_name(found.st_uid)} and not to root, so it proves nothing: "
                "look who wrote it, and remove it"
            )
        return above.read(name)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove the file or link at ``path``, see :meth:`Folder.remove`."""
    above, name = parent(path)
    with above:
        above.remove(name)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove the folder at ``path``, which is no link, with all that is below it."""
    above, name = parent(path)
    with above:
        above.remove_tree(name)


def give(
    path: str | os.PathLike[str],
    uid: int,
    gid: int,
    modes: tuple[int, int] | None = None,
    linked: bool = False,
) -> None:
    """Give the folder at ``path`` and all that is below it to an account, following no link.

    ``modes`` are those of folders and of files; without them each keeps its own. From the bottom
    up, so that a folder changes hands when nothing in it is left to do. Raises Unsafe for a file
    with a second name where others may write, unless the caller knows that there are (``linked``).
    """
    with folder(path) as top:
        walk = os.fwalk(".", topdown=False, onerror=_fail, dir_fd=top.handle)
        for place, folders, names, handle in walk:
            here = os.path.normpath(os.path.join(top.path, place))
            safe = top.safe and not _changeable(os.fstat(handle))
            inside = Folder(here, handle, safe or linked)
            for name in (*names, *folders):
                _give(inside, name, uid, gid, modes[1] if modes else -1)
            _own(handle, uid, gid, modes[0] if modes else -1)


def changeable_by_others(path: str | os.PathLike[str]) -> str | None:
    """Return a sentence if an account that is not trusted may replace what is at ``path``.

    It names the first folder above ``path`` that such an account may write; None when there is
    none. Raises as folder().
    """
    above = os.path.dirname(os.path.abspath(path))
    for place in _from_root(above):
        try:
            with folder(place) as found:
                now, safe = os.fstat(found.handle), found.safe
        except FileNotFoundError:
            return None
        if not safe:
            return (
                f"{place} belongs to {_name(now.st_uid)} and has mode "
                f"{stat.S_IMODE(now.st_mode):04o}, so others than {_name(os.geteuid())} may "
                f"replace {path}: give it to root, mode 0755"
            )
    return None


def _fail(error: OSError) -> None:
    raise error


def _walk(path: str | os.PathLike[str], make: bool) -> Folder:
    """Open ``path`` one name after the other; with ``make``, missing folders are made."""
    rest = _names(os.path.abspath(path))
    here, links = _root(), 0
    try:
        while rest:
            name = rest.pop()
            step = _step(here, name, (0o755 if rest else 0o700) if make else None)
            found = os.fstat(step.handle)
            if stat.S_ISLNK(found.st_mode):
                with step:
                    links += 1
                    here, more = _follow(here, name, step, links)
                rest += more
            else:
                os.close(here.handle)
                here = step
        readable = _readable(here)
    except BaseException:
        os.close(here.handle)
        raise
    if readable is not here:
        os.close(here.handle)
    return readable


def _step(here: Folder, name: str, make: int | None) -> Folder:
    path = os.path.join(here.path, name)
    try:
        handle = os.open(name, _WALK, dir_fd=here.handle)
    except FileNotFoundError as error:
        if make is None:
            raise FileNotFoundError(error.errno, error.strerror, path) from None
        return here.make(name, mode=make)
    found = os.fstat(handle)
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        os.close(handle)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return Folder(path, handle, here.safe and not _changeable(found))


def _follow(here: Folder, name: str, link: Folder, links: int) -> tuple[Folder, list[str]]:
    """Return where to go on from, and the names to walk from there, the next one last."""
    found = os.fstat(link.handle)
    if not here.safe or not _trusted(found.st_uid):
        raise _foreign_link(here.path, name, found)
    if links > _LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), link.path)
    target = os.readlink("", dir_fd=link.handle)
    if os.path.isabs(target):
        root = _root()
        os.close(here.handle)
        return root, _names(target)
    return here, _names(target)


def _root() -> Folder:
    return Folder("/", os.open("/", _WALK | os.O_DIRECTORY), True)


def _readable(here: Folder) -> Folder:
    """Return the folder with a handle that can be listed and owned, where the account may."""
    try:
        handle = os.open(".", _FOLDER, dir_fd=here.handle)
    except PermissionError:  # may pass through it, and work on names that it knows
        return here
    return Folder(here.path, handle, here.safe)


def _names(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _from_root(path: str) -> list[str]:
    places = [path]
    while places[0] != "/":
        places.insert(0, os.path.dirname(places[0]))
    return places


def _own(handle: int, uid: int, gid: int, mode: int) -> None:
    found = os.fstat(handle)
    if uid not in (-1, found.st_uid) or gid not in (-1, found.st_gid):
        os.fchown(handle, uid, gid)
    if mode not in (-1, stat.S_IMODE(os.fstat(handle).st_mode)):
        os.fchmod(handle, mode)


def _give(inside: Folder, name: str, uid: int, gid: int, mode: int) -> None:
    found = os.stat(name, dir_fd=inside.handle, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        return  # done when the walk was in it
    if not stat.S_ISREG(found.st_mode):  # a link, a socket, a pipe: itself, by its name
        os.chown(name, uid, gid, dir_fd=inside.handle, follow_symlinks=False)
        return
    inside.own(name, uid, gid, mode)


def _trusted(uid: int) -> bool:
    return uid in (0, os.geteuid())


def _changeable(found: os.stat_result) -> bool:
    """Tell whether accounts that are not trusted may rename or remove what trusted ones have there.

    In a sticky folder they may not, but its owner may.
    """
    if stat.S_ISLNK(found.st_mode):
        return False
    writes = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0)
    return not _trusted(found.st_uid) or bool(writes and not found.st_mode & stat.S_ISVTX)


def _foreign_link(folder_path: str, name: str, found: os.stat_result) -> Unsafe:
    return Unsafe(
        f"{os.path.join(folder_path, name)} is a link that {_name(found.st_uid)} owns, in a folder "
        "where links are not followed (only root's own are, where nobody else may write): look who "
        "put it there, have the file or folder itself in its place or give the path without the "
        "link, and run again"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the account {uid}"
