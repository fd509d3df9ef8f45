"""A mirror's packages and wheels in one file, for a site that nothing else reaches."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable

from .packages import MirrorError, digest

SUMS = "SHA256SUMS"
_MEMBER = re.compile(r"(packages/[A-Za-z0-9][A-Za-z0-9.+%~_-]*\.deb|wheels/[A-Za-z0-9][\w.+!-]*)")


class _Counter(io.RawIOBase):
    """A file that keeps nothing but the digest of what is written into it."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sha256.update(data)
        return len(data)


def sums(files: dict[str, str]) -> str:
    """Return the checksums of ``files``, paths by their names, as sha256sum writes them."""
    return "".join(f"{digest(files[name])}  {name}\n" for name in sorted(files))


def would_be(files: dict[str, str]) -> str:
    """Return the SHA-256 that a bundle of ``files`` has; the same files give the same one."""
    counter = _Counter()
    _pack(files, counter)
    return counter.sha256.hexdigest()


def pack(files: dict[str, str], path: str) -> None:
    """Write a bundle of ``files``, paths by their names in it, to ``path``."""
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        _pack(files, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _pack(files: dict[str, str], out: io.RawIOBase | io.BufferedWriter) -> None:
    text = sums(files).encode()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, SUMS, io.BytesIO(text), len(text))
        for name in sorted(files):
            with open(files[name], "rb") as file:
                _add(tar, name, file, os.fstat(file.fileno()).st_size)


def _add(tar: tarfile.TarFile, name: str, content: io.BufferedIOBase, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    tar.addfile(member, content)


def unpack(path: str, folder: str) -> None:
    """Unpack the bundle ``path`` into the empty ``folder``; MirrorError unless it is whole.

    Only packages and wheels come out, each with the checksum that the bundle gives for it.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            listed = _listed(tar, members)
            for member in members[1:]:
                _unpack_one(tar, member, listed.pop(member.name, ""), folder)
    except tarfile.TarError as error:
        raise MirrorError(f"{path} is no bundle, or is torn: {error}") from None
    if listed:
        raise MirrorError(f"{path} lacks {min(listed)}, which its own list names")


def _listed(tar: tarfile.TarFile, members: Iterable[tarfile.TarInfo]) -> dict[str, str]:
    first = next(iter(members), None)
    file = tar.extractfile(first) if first is not None and first.name == SUMS else None
    if file is None:
        raise MirrorError(f"{tar.name!s} does not begin with {SUMS}: it is no bundle of a mirror")
    lines = file.read().decode("utf-8").splitlines()
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, value: str, folder: str) -> None:
    if not member.isfile() or not _MEMBER.fullmatch(member.name) or not value:
        raise MirrorError(f"{tar.name!s} holds {member.name!r}, which is no package or wheel of it")
    target = os.path.join(folder, member.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    file = tar.extractfile(member)
    assert file is not None
    with open(target, "xb") as out:
        while piece := file.read(1 << 20):
            out.write(piece)
    if digest(target) != value:
        raise MirrorError(f"{tar.name!s}: {member.name} is not what its own list says")
