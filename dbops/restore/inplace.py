"""What a restore in place asks an engine: a record of typed functions, and what they speak of.

What is *not* here: when each is asked, and what is made of the answers (:mod:`.plan`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from dbops.contract import RestoreRequest
from dbops.runner import Plan


class Destination(Protocol):
    """Where a restore goes: what the frame has to know of an engine's own."""

    @property
    def backup_id(self) -> str:
        """The backup that is put back, the last of its chain."""

    @property
    def room(self) -> int:
        """About how many bytes it takes on the data directory's disk, log included."""


D = TypeVar("D", bound=Destination)


@dataclass(frozen=True)
class DataDir:
    """A member's data directory, who works in it, and what lies there.

    ``account`` is its owner, ``service`` the server's unit if it has one. ``serving`` returns the
    process of a server that works in it; Refused when that cannot be seen. The next two are asked
    of a directory that is not empty: ``foreign`` returns why it is not the engine's, ``outside``
    names what belongs to it and lies elsewhere; each is None for nothing. ``beside`` is the folder
    that a restore fetches to before it fills the directory, None where it fetches nothing.
    """

    path: Path
    account: str
    service: str | None
    serving: Callable[[], int | None]
    foreign: Callable[[], str | None]
    outside: Callable[[], str | None] | None = None
    beside: Path | None = None


@dataclass(frozen=True)
class Wait:
    """How the frame waits for a server that was started and answers later.

    ``state`` returns None once it is open, until then what it does; Unreachable and CommandFailed
    mean that it is starting, VerificationFailed that it will not open. ``last_words`` returns what
    a server that ended had to say.
    """

    title: str
    limit_seconds: float
    state: Callable[[], str | None]
    last_words: Callable[[], str]


@dataclass(frozen=True)
class InPlace(Generic[D]):
    """What the frame asks an engine; each function raises a DbopsError, or what ``explain`` knows.

    ``choose`` returns where a request leads, given whether a server still runs here: ConfigError
    for what does not exist or cannot be read here, VerificationFailed for missing log. The plans:
    ``before`` is done while nothing was stopped or moved; ``fill`` makes an empty data directory
    whole; ``start`` brings up the server. The latter two get the words that say where the former
    data are kept. ``wait`` is None where the start itself waits. ``opened`` is done, by its title,
    once the server answers. ``sound`` verifies, by its title, the server that was restored, or for
    None the one that runs now. ``receives`` returns whether a replica follows, None on a primary.
    ``position`` returns how far the log was replayed, for a replica that goes on from there.
    """

    data: DataDir
    choose: Callable[[RestoreRequest, bool], D]
    fill: Callable[[D, str], Plan]
    start: Callable[[D, str], Plan]
    sound: tuple[str, Callable[[D | None], None]]
    receives: Callable[[], bool | None]
    before: Callable[[D], Plan] | None = None
    wait: Wait | None = None
    opened: tuple[str, Callable[[], None]] | None = None
    position: Callable[[D], str | None] | None = None
    explain: Callable[[Exception], str | None] = lambda error: None
