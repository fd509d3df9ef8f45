"""A program of its own: write the beginnings of files, one after the other, to standard output.

``python stream.py FILE BYTES [FILE BYTES…]``, or
``python stream.py --growing FILE MARKER VERDICT CHECKER`` for one that is still being written, with
the standard library alone. A file that has less than it should ends it with status 1, so that what
was written so far counts for nothing; so does one in which the program ``CHECKER``, which reads it
at the same time, finds damage.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable

_PIECE = 1024 * 1024
_PAUSE_SECONDS = 0.05


def pour(path: str, size: int, sink: int) -> None:
    """Write the first ``size`` bytes of ``path`` to the descriptor ``sink``."""
    with open(path, "rb", buffering=0) as file:
        left = size
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise OSError(f"{path} ends {left} bytes early")
            left -= len(piece)
            _write(sink, piece)


def _write(sink: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(sink, piece) :]


def pour_growing(path: str, marker: str, give: Callable[[bytes], None]) -> None:
    """Give away all of ``path`` while another process is still writing it.

    ``marker`` appears when it is complete and says how many bytes it has, or nothing if it failed.
    """
    parent, done = os.getppid(), 0
    with open(path, "rb", buffering=0) as file:
        while True:
            whole = _marked(marker)
            piece = file.read(_PIECE)
            done += len(piece)
            give(piece)
            if whole is not None and done >= whole:
                break
            if file.tell() == os.fstat(file.fileno()).st_size:
                if whole is not None or os.getppid() != parent:
                    break
                time.sleep(_PAUSE_SECONDS)
    if whole is None or done != whole:
        raise OSError(f"{path} is not whole: it has {done} bytes and should have {whole}")


class Checker:
    """The server's own tool, which reads the same bytes and judges them at their end."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "/dev/stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdin is not None
        self._sink = self._process.stdin.fileno()
        self._reads = True
        with contextlib.suppress(OSError):  # an account may have no more room: a small one will do
            fcntl.fcntl(self._sink, fcntl.F_SETPIPE_SZ, _PIECE)

    def give(self, piece: bytes) -> None:
        """Let it read a piece; one that has ended needs no more."""
        try:
            if self._reads:
                _write(self._sink, piece)
        except BrokenPipeError:
            self._reads = False

    def complaint(self) -> str | None:
        """Return what it has found at the end, None when all is well."""
        said, _ = self._process.communicate()
        lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
        if self._process.returncode == 0:
            return None
        return next((line for line in reversed(lines) if line), "it wrote nothing")


def check_growing(sink: int, path: str, marker: str, verdict: str, program: str) -> None:
    """Pour a growing file into ``sink`` and a checker; leave its complaint in ``verdict``."""
    checker = Checker(program)

    def give(piece: bytes) -> None:
        _write(sink, piece)
        checker.give(piece)

    pour_growing(path, marker, give)
    complaint = checker.complaint()
    if complaint is not None:
        with open(verdict, "w", encoding="utf-8") as file:
            file.write(complaint)
        raise OSError(f"{path} is damaged: {complaint}")


def _marked(marker: str) -> int | None:
    try:
        with open(marker, encoding="ascii") as file:
            return int(file.read() or "-1")
    except FileNotFoundError:
        return None


def main(arguments: list[str]) -> int:
    """Pour every file named in ``arguments``."""
    sink = sys.stdout.fileno()
    try:
        if arguments[:1] == ["--growing"]:
            check_growing(sink, *arguments[1:])
            return 0
        for path, size in zip(arguments[::2], arguments[1::2], strict=True):
            pour(path, int(size), sink)
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
