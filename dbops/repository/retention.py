"""Which full backups retention lets go: the choice alone, with one meaning for every engine.

Those that the schedule or a person asked for count, and at most one of each period; so "keep 7" of
daily backups is seven days, however often somebody took another one. What dbops takes of its own
accord, to begin a log anew or after a restore, displaces none of them. See
docs/design/0008-history-that-stays.md. What is *not* here: the last verified backup, what builds
upon others, and how anything is removed (:mod:`.expiry`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from dbops.repository import plausible
from dbops.repository.plausible import Full

DAY_SECONDS = 86400.0
VARIES = 0.25
"""Share of the period by which two may be closer to each other: timers and backups vary."""
MOST_AUTOMATIC = 5
"""Automatic ones that stay between two others, so that a primary in a crash loop fills no disk."""


@dataclass(frozen=True)
class Policy:
    """How many full backups count before older ones go, and how often one is scheduled."""

    keep_full: int
    period_seconds: float = DAY_SECONDS


def oldest_kept(fulls: Sequence[Full], policy: Policy) -> str | None:
    """Return the full backup before which all others may go; None when none may.

    ``fulls`` come oldest first. As many as are to be kept count from there on, and reach back for
    all periods but one. None may go while the newest is suspect: it may be the data that are wrong,
    and then the old ones are what is left of them.
    """
    suspect = plausible.suspects(fulls)
    if not fulls or fulls[-1].backup_id in suspect:
        return None
    counted: list[Full] = []
    for one in reversed(fulls):
        if one.automatic or one.backup_id in suspect:
            continue
        if not counted or _apart(one, counted[-1]) >= (1 - VARIES) * policy.period_seconds:
            counted.append(one)
        least = (policy.keep_full - 1 - VARIES) * policy.period_seconds
        if len(counted) >= policy.keep_full and _apart(counted[-1], counted[0]) >= least:
            return counted[-1].backup_id
    return None


def _apart(old: Full, new: Full) -> float:
    return (new.stop - old.stop).total_seconds()


def superfluous(
    fulls: Sequence[Full], spans: Mapping[str, float], needed: Collection[str]
) -> set[str]:
    """Return the automatic ones that are too many; those with the least log behind them go first.

    ``spans`` are the seconds of log that go on from each, ``needed`` are not to go, nor are the
    oldest and the newest of all. While the newest is suspect only suspect ones are thinned out.
    """
    suspect = plausible.suspects(fulls)
    doubtful = bool(fulls) and fulls[-1].backup_id in suspect
    ends = (*fulls[:1], *fulls[-1:])
    going: set[str] = set()
    for automatic, stretch in groupby(fulls, key=lambda one: one.automatic):
        found = list(stretch) if automatic else []
        small = [one for one in found if one.backup_id in suspect]
        large = [one for one in found if one.backup_id not in suspect]
        for group in (small, [] if doubtful else large):
            free = [o for o in group if o.backup_id not in needed and o not in ends]
            free.sort(key=lambda one: (spans.get(one.backup_id, 0.0), one.stop))
            excess = max(0, len(group) - MOST_AUTOMATIC)
            going.update(one.backup_id for one in free[:excess])
    return going
