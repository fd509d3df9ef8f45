"""How small a backup may be, with one meaning for every engine.

A backup of less than half of the newest full one before it is suspect. It is whole, so it is listed
and kept; the attempt fails with the reason; and retention does not count it among the full backups
to keep, so that it pushes out no good one. The next backup is compared with it in turn: if that one
is as small, the data are. What is *not* here: which size an engine compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dbops.errors import VerificationFailed

SMALLEST_SHARE = 0.5


@dataclass(frozen=True)
class Size:
    """The bytes of data that a backup holds."""

    backup_id: str
    size: int


def suspects(fulls: Sequence[Size]) -> set[str]:
    """Return the ids of the suspect ones among full backups, which come oldest first."""
    return {new.backup_id for former, new in pairwise(fulls) if _suspect(new, former)}


def _suspect(new: Size, former: Size) -> bool:
    return new.size < SMALLEST_SHARE * former.size


def require_content(new: Size) -> None:
    """Raise VerificationFailed for a backup of no bytes at all: it is none and is not listed."""
    if new.size <= 0:
        raise VerificationFailed(f"Backup {new.backup_id} holds no bytes at all.")


def require_size(new: Size, fulls: Sequence[Size]) -> None:
    """Raise VerificationFailed for a backup, listed already, that is suspect.

    ``fulls`` are the full backups before it, oldest first.
    """
    if fulls and _suspect(new, fulls[-1]):
        raise VerificationFailed(
            f"Backup {new.backup_id} is listed, but holds {new.size} bytes of data, less than half "
            f"of the {fulls[-1].size} of {fulls[-1].backup_id}: look at what became of the rest."
        )
