"""A program of its own: write the beginnings of files, one after the other, to standard output.

``python pour.py FILE BYTES [FILE BYTES…]``, with the standard library alone. A file that has less
than it should ends it with status 1, so that what was written so far counts for nothing.
"""

from __future__ import annotations

import os
import sys

_PIECE = 1024 * 1024


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


def main(arguments: list[str]) -> int:
    """Pour every file named in ``arguments``."""
    try:
        for path, size in zip(arguments[::2], arguments[1::2], strict=True):
            pour(path, int(size), sys.stdout.fileno())
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
