"""Passing on a dump that still holds programs, unless a client could be misled by one of them.

Earlier versions stored one dump with routines, triggers and events in it, as their users wrote
them. The client ends a statement where the server does not after ``--`` and a control character,
in a text between ``$$``, and after the word ``delimiter``, which it follows wherever it stands. Run
by a restore between what unpacks a dump and the client; in a drill the client is in a cell.
"""

from __future__ import annotations

import re
import sys
from typing import IO

STATUS = 93
WORDS = (
    "the backup was made by an earlier version, and a routine, trigger or event in it may not come "
    "back as it was written; restore a newer backup"
)
_PIECE_BYTES = 1 << 20
_OVERLAP = 64
_MARGIN = 32
# https://dev.mysql.com/doc/refman/9.7/en/ansi-diff-comments.html
_COMMENT = rb"--[\x00-\x08\x0e-\x1f\x7f]"
_WORD = rb"(?<![\w$])delimiter[ \t]"
# The dump's own; one that ends programs stands after the end of one.
_OWN = re.compile(rb"(?<=\n)DELIMITER ;;\n|(?<=;;\n)DELIMITER ;\n")
_DOUBTFUL = re.compile(_COMMENT + rb"|\$\$|" + _WORD, re.IGNORECASE)
_BEGIN = b"\nDELIMITER ;;\n"


class Misleading(Exception):
    """The dump holds a program, and what a client and the server may read differently."""


def copy(source: IO[bytes], sink: IO[bytes]) -> None:
    """Pass all on; Misleading, before it is passed on, for what may be read in two ways.

    A dump without programs is passed on whatever it holds: all that is in it was quoted.
    """
    held, begin, doubt, programs = b"", 0, False, False
    while piece := source.read(_PIECE_BYTES):
        held += piece
        programs = programs or _BEGIN in held
        end = max(begin, len(held) - _MARGIN)
        doubt = doubt or _doubtful(held, begin, end)
        if doubt and programs:
            raise Misleading
        sink.write(held[:-_OVERLAP])
        begin = end - len(held[:-_OVERLAP])
        held = held[-_OVERLAP:]
    if programs and _doubtful(held, begin, len(held)):
        raise Misleading
    sink.write(held)
    sink.flush()


def _doubtful(text: bytes, begin: int, end: int) -> bool:
    """Tell whether something doubtful begins there; what it is may need what stands around it."""
    found = (match.start() for match in _DOUBTFUL.finditer(text))
    return any(begin <= place < end and not _OWN.match(text, place) for place in found)


def main() -> int:
    """Copy standard input to standard output; return the status, STATUS when it is misleading."""
    try:
        copy(sys.stdin.buffer, sys.stdout.buffer)
    except Misleading:
        return STATUS
    except BrokenPipeError:
        return 1
    return 0
