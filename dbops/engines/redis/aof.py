"""The append-only files of one server: which there are, and how far they go.

A base (an RDB file) and the increments written since then are named by a manifest. The increments
are a log: commands, and with ``aof-timestamp-enabled`` a line ``#TS:`` with each new second. What
is *not* here: cutting a log at a time, which is the work of the server's own check tool.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from dbops.engines.redis import rdb
from dbops.errors import CommandFailed, VerificationFailed

FOLDER = "appendonlydir"
NAME = "appendonly.aof"
_COMMAND, _NOTE, _BULK = ord("*"), ord("#"), ord("$")
_STAMP = b"#TS:"
_NUMBER_BYTES = 32


@dataclass(frozen=True)
class Files:
    """The files that a manifest names, in the order in which they are loaded."""

    folder: Path
    base: Path
    base_number: int
    increments: tuple[Path, ...]

    def base_id(self) -> str:
        """Return what tells this base from every other one: its number, time and size."""
        head = rdb.read_head(self.base)
        return f"{self.base_number}-{head.made_at}-{self.base.stat().st_size}"


@dataclass(frozen=True)
class Extent:
    """How far a log is whole: the end of its last complete command or transaction.

    ``stamp`` is the second of the last ``#TS:`` line before it, None when there was none.
    """

    end: int
    commands: int
    stamp: int | None


def read(data_dir: Path) -> Files:
    """Return the append-only files of a server's data directory.

    Raises CommandFailed when they are not all there, which passes while the server rewrites them.
    """
    folder = data_dir / FOLDER
    manifest = folder / f"{NAME}.manifest"
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CommandFailed(f"{manifest} cannot be read: {error.strerror}.") from None
    base: tuple[Path, int] | None = None
    increments = []
    for line in lines:
        name, number, kind = _entry(manifest, line)
        if kind == "b":
            base = folder / name, number
        elif kind == "i":
            increments.append((number, folder / name))
    if base is None:
        raise CommandFailed(f"{manifest} names no base: the server has not finished its rewrite.")
    return Files(folder, *base, tuple(path for _, path in sorted(increments)))


def _entry(manifest: Path, line: str) -> tuple[str, int, str]:
    words = line.split()
    known = dict(zip(words[::2], words[1::2], strict=False))
    try:
        name, number, kind = known["file"], int(known["seq"]), known["type"]
    except (KeyError, ValueError):
        raise CommandFailed(f"{manifest} holds a line that is not understood: {line!r}.") from None
    if "/" in name:
        raise CommandFailed(f"{manifest} names a file outside its folder: {name!r}.")
    return name, number, kind


def lay_out(folder: Path, with_increment: bool = True) -> tuple[Path, Path]:
    """Make an append-only folder for one base and one increment; return the paths of the two."""
    folder.mkdir(mode=0o700)
    base, increment = f"{NAME}.1.base.rdb", f"{NAME}.1.incr.aof"
    lines = [f"file {base} seq 1 type b\n"]
    if with_increment:
        lines.append(f"file {increment} seq 1 type i\n")
    (folder / f"{NAME}.manifest").write_text("".join(lines), encoding="ascii")
    return folder / base, folder / increment


def measure(path: Path, known: Extent | None = None, size: int | None = None) -> Extent:
    """Return how far the log in ``path`` is whole, looking only beyond what is ``known``.

    ``size`` is where to stop, the file's own size if None. A command that is not complete yet does
    not count; VerificationFailed is raised for bytes that can be no command.
    """
    known = known or Extent(0, 0, None)
    size = path.stat().st_size if size is None else size
    if size <= known.end:
        return known
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as data:
        try:
            return _walk(data, size, known)
        except ValueError as error:
            raise VerificationFailed(f"The log {path} is damaged: {error}.") from None


def _walk(data: mmap.mmap, size: int, known: Extent) -> Extent:
    place, inside = known.end, False
    end, commands, stamp = known.end, known.commands, known.stamp
    newest = stamp
    while place < size:
        first = data[place]
        if first == _COMMAND:
            after, word = _command(data, place, size)
            if after is None:
                break
            inside = word == b"MULTI" or (inside and word != b"EXEC")
            commands += 1
        elif first == _NOTE:
            line_end = data.find(b"\r\n", place, size)
            if line_end < 0:
                break
            after = line_end + 2
            if data[place : place + 4] == _STAMP:
                newest = int(data[place + 4 : line_end])
        else:
            raise ValueError(f"byte {place} begins no command")
        place = after
        if not inside:
            end, stamp = place, newest
    return Extent(end, commands, stamp)


def _command(data: mmap.mmap, place: int, size: int) -> tuple[int | None, bytes]:
    """Return where the command at ``place`` ends, None when it is not all there, and its name."""
    count, place = _number(data, place, size)
    word = b""
    for index in range(count or 0):
        if place >= size:
            return None, b""
        if data[place] != _BULK:
            raise ValueError(f"byte {place} begins no argument")
        length, start = _number(data, place, size)
        if length is None or start + length + 2 > size:
            return None, b""
        if data[start + length : start + length + 2] != b"\r\n":
            raise ValueError(f"the argument at byte {place} has another length than it says")
        if index == 0:
            word = data[start : start + min(length, 16)].upper()
        place = start + length + 2
    return (None if count is None else place), word


def _number(data: mmap.mmap, place: int, size: int) -> tuple[int | None, int]:
    line_end = data.find(b"\r\n", place, min(size, place + _NUMBER_BYTES))
    if line_end < 0:
        if size - place >= _NUMBER_BYTES:
            raise ValueError(f"byte {place} begins no number")
        return None, place
    value = int(data[place + 1 : line_end])
    if value < 0:
        raise ValueError(f"byte {place} begins a negative length")
    return value, line_end + 2
