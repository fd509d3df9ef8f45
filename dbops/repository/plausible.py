"""How small a backup may be, with one meaning for every engine.

A full backup of less than half of the newest plausible one before it is suspect. It is whole, so it
is listed and kept, and the attempt fails with the reason. It is never the measure for another one:
each that is as small is suspect, too, until one is plausible again, or a person has said that the
data did shrink (``accepted``). What is *not* here: which size an engine compares, and that nothing
expires meanwhile (:mod:`.retention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dbops.errors import VerificationFailed

SMALLEST_SHARE = 0.5


@dataclass(frozen=True)
class Size:
    """The bytes of data that a backup holds, and whether a person accepted them."""

    backup_id: str
    size: int
    accepted: bool = False


@dataclass(frozen=True, kw_only=True)
class Full(Size):
    """A full backup; ``automatic`` tells that neither a person nor the schedule asked for it."""

    stop: datetime
    automatic: bool = False


def suspects(fulls: Sequence[Size]) -> dict[str, Size]:
    """Return each suspect among full backups, oldest first, with the one it was measured by."""
    found: dict[str, Size] = {}
    measure: Size | None = None
    for one in fulls:
        if measure is not None and not one.accepted and _suspect(one, measure):
            found[one.backup_id] = measure
        else:
            measure = one
    return found


def _suspect(new: Size, former: Size) -> bool:
    return new.size < SMALLEST_SHARE * former.size


def require_content(new: Size) -> None:
    """Raise VerificationFailed for a backup of no bytes at all: it is none and is not listed."""
    if new.size <= 0:
        raise VerificationFailed(f"Backup {new.backup_id} holds no bytes at all.")


def doubt(fulls: Sequence[Size]) -> str | None:
    """Return why the newest of these full backups, oldest first, is suspect; None when not."""
    newest = fulls[-1] if fulls else None
    measure = suspects(fulls).get(newest.backup_id) if newest else None
    if newest is None or measure is None:
        return None
    return (
        f"Backup {newest.backup_id} is listed, but holds {newest.size} bytes of data, less than "
        f"half of the {measure.size} of {measure.backup_id}: look at what became of the rest. "
        "Nothing expires until a full backup is as large again, or until you say that the data "
        "did shrink: dbops backup take --accept-smaller."
    )


def require_size(new: Size, fulls: Sequence[Size]) -> None:
    """Raise VerificationFailed for a backup, listed already, that is suspect.

    ``fulls`` are the full backups before it, oldest first.
    """
    words = doubt([*fulls, new])
    if words is not None:
        raise VerificationFailed(words)
