"""What a drill asks an engine: a record of typed functions, and the small ones that they return.

What is *not* here: when each is asked, and what is made of the answers (:mod:`.run`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from dbops.contract import Progress
from dbops.drill.isolation import Cell
from dbops.manifest import Fingerprint

W = TypeVar("W")


@dataclass(frozen=True)
class Supply(Generic[W]):
    """What is to be restored. ``way`` is the engine's own and is handed back to its functions.

    ``words`` say what the backup comes with, ``room`` how many bytes it needs, and ``known_at`` is
    the time at which the newest data are wanted. The ``fingerprints`` are in the order of the log.
    """

    words: str
    fingerprints: tuple[Fingerprint, ...]
    room: int
    known_at: datetime
    way: W


class Newest(NamedTuple):
    """How far the newest recovery came, in words, and what reads the newest heartbeat there."""

    words: str
    beat: Callable[[], datetime | None]


@dataclass(frozen=True)
class Trial(Generic[W]):
    """What the frame asks an engine; each function raises a DbopsError, or what ``explain`` knows.

    ``cell.scratch`` is the scratch folder. ``known`` returns the id of the backup asked for, of the
    newest one for None; ConfigError for one that does not exist. ``choose`` returns what to restore
    for an id. ``ready`` sees that this host can, and makes the scratch folder. ``fill`` are steps
    by name; each returns its words, or how many bytes came back. ``to_point`` recovers to a
    fingerprint's point and returns it; leaving the block makes way for the next recovery. It is
    None where a fingerprint is of the backup itself. ``content`` returns what was expected and what
    is found, both without what cannot be compared. ``proofs`` are steps by name; each returns its
    words. ``end`` ends all that works in the scratch folder.
    """

    cell: Cell
    algorithms: tuple[str, ...]
    known: Callable[[str | None], str]
    choose: Callable[[str], Supply[W]]
    ready: Callable[[W], None]
    fill: tuple[tuple[str, Callable[[W, Progress], str | int]], ...]
    content: Callable[[W, Fingerprint, Progress], tuple[Fingerprint, Fingerprint]]
    newest: Callable[[W, Progress], Newest]
    end: Callable[[], None]
    to_point: Callable[[W, Fingerprint, Progress], AbstractContextManager[str]] | None = None
    proofs: tuple[tuple[str, Callable[[], str]], ...] = ()
    explain: Callable[[Exception], str | None] = lambda error: None
