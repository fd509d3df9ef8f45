"""A program of its own: write the beginnings of files, one after the other, to standard output.

``python pour.py FILE BYTES [FILE BYTES…]``, or ``pour.py --growing FILE MARKER`` for one that is
still being written, with the standard library alone. A file that has less than it should ends it
with status 1, so that what was written so far counts for nothing.
"""

from __future__ import annotations

import os
import sys
import time

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
            while piece:
                piece = piece[os.write(sink, piece) :]


def pour_growing(path: str, marker: str, sink: int) -> None:
    """Write all of ``path`` while another process is still writing it.

    ``marker`` appears when it is complete and says how many bytes it has, or nothing if it failed.
    """
    parent, done = os.getppid(), 0
    with open(path, "rb", buffering=0) as file:
        while True:
            whole = _marked(marker)
            piece = file.read(_PIECE)
            done += len(piece)
            while piece:
                piece = piece[os.write(sink, piece) :]
            if whole is not None and done >= whole:
                break
            if file.tell() == os.fstat(file.fileno()).st_size:
                if whole is not None or os.getppid() != parent:
                    break
                time.sleep(_PAUSE_SECONDS)
    if whole is None or done != whole:
        raise OSError(f"{path} is not whole: it has {done} bytes and should have {whole}")


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
            pour_growing(arguments[1], arguments[2], sink)
            return 0
        for path, size in zip(arguments[::2], arguments[1::2], strict=True):
            pour(path, int(size), sink)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
