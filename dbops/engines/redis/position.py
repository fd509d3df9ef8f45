"""Positions of the log as manifests hold them: which base, and how many bytes of log beyond it.

``REDIS0010/7-1767323045-1024+0``: the format of the base, what tells it from all others, and the
bytes after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dbops.errors import VerificationFailed
from dbops.manifest import Manifest

_POINT = re.compile(r"([A-Z]+\d+)/(\d+-\d+-\d+)\+(\d+)")


@dataclass(frozen=True)
class Point:
    """A position: the bytes of log after a base."""

    format: str
    base_id: str
    offset: int

    def __str__(self) -> str:
        return f"{self.format}/{self.base_id}+{self.offset}"


def parse(text: str) -> Point:
    """Return the point that ``text`` writes; VerificationFailed when it is none."""
    match = _POINT.fullmatch(text)
    if match is None:
        raise VerificationFailed(f"{text!r} is no position of a Redis log.")
    return Point(match[1], match[2], int(match[3]))


def base(manifest: Manifest) -> Point:
    """Return where a full backup begins and ends: at its base."""
    return parse(manifest.start_point)
