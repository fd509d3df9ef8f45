"""Letting old backups go, never the last full one, the last verified one, or what others need.

What is *not* here: how the catalogue is kept; see :mod:`.catalogue`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from dbops import lock, status
from dbops.contract import Progress
from dbops.errors import Busy, Refused
from dbops.repository import catalogue, plausible, routes
from dbops.repository.catalogue import Change, Document
from dbops.repository.restic import Repository
from dbops.repository.restic_output import Listing
from dbops.repository.retention import Policy, oldest_kept, superfluous
from dbops.repository.routes import Entry
from dbops.runner import Action, Plan
from dbops.targets import Target

ORPHAN_HOURS = 48
PRUNE_HOURS = 20


def going(found: Sequence[Entry], backup_id: str) -> set[str]:
    """Return the ids of one backup and of everything that builds upon it, log entries too."""
    chosen = {backup_id}
    for entry in found:
        if entry.manifest.parent_id in chosen:
            chosen.add(entry.backup_id)
    return chosen


@dataclass(frozen=True)
class Choice:
    """The ids that retention lets go: ``aged`` are too old, ``superfluous`` too many of a kind."""

    aged: frozenset[str]
    superfluous: frozenset[str]

    @property
    def every(self) -> set[str]:
        """All of them."""
        return {*self.aged, *self.superfluous}


def retention(found: Sequence[Entry], policy: Policy) -> Choice:
    """Return what goes by :mod:`.retention`, with everything that builds upon it."""
    fulls = routes.fulls(found)
    ids = [full.backup_id for full in fulls]
    oldest = oldest_kept(fulls, policy)
    aged = ids[: ids.index(oldest)] if oldest else []
    upon = {e.manifest.parent_id for e in routes.without_logs(found)}
    needed = [full for full in ids if full in upon]
    return Choice(
        aged=frozenset(one for full in aged for one in going(found, full)),
        superfluous=frozenset(
            one for full in superfluous(fulls, _spans(found), needed) for one in going(found, full)
        ),
    )


def _spans(found: Sequence[Entry]) -> dict[str, float]:
    """Return for how many seconds the log goes on from each full backup, up to the next one."""
    whole = [entry for entry in found if entry.manifest.kind == "full"]
    spans = {}
    for entry, later in zip_longest(whole, whole[1:]):
        end = routes.reach(found, entry)
        end = min(end, later.manifest.stop) if later else end
        spans[entry.backup_id] = (end - entry.manifest.stop).total_seconds()
    return spans


def keep_one(found: Sequence[Entry], leaving: set[str], verified: Collection[str]) -> None:
    """Raise Refused when no full backup, or none that was verified, would stay."""
    staying = [e for e in found if e.backup_id not in leaving]
    if leaving and not any(e.manifest.kind == "full" for e in staying):
        raise Refused(
            f"{', '.join(sorted(leaving))} would leave no full backup: take a full one first."
        )
    sound = {e.backup_id for e in found}.intersection(verified)
    if sound and sound <= leaving:
        raise Refused(
            f"{', '.join(sorted(sound))} would leave no verified backup: "
            "run 'dbops backup verify' after the next backup, then expire."
        )


def plan(target: Target, repo: Repository, backup_id: str | None, policy: Policy) -> Plan:
    """Return the steps that expire one backup and what builds upon it, or what retention lets go.

    Raises ConfigError for an unknown backup, Refused when that would leave no full backup, or none
    that was verified, and of retention while the newest full backup is suspect.
    """
    found = catalogue.entries(repo)
    if backup_id is None:
        words = plausible.doubt(routes.fulls(found))
        if words is not None:
            raise Refused(words)
        leaving = retention(found, policy).every
    else:
        leaving = going(found, routes.choose(found, backup_id).backup_id)
    keep_one(found, leaving, _verified(target))
    if not leaving:
        return ()
    names = ", ".join(sorted(leaving))

    def do() -> None:
        drop(target, repo, leaving)

    return (
        Action(f"take {names} out of the catalogue", do),
        Action("remove what no backup needs any more", lambda: tidy(target, repo, _nobody)),
        Action("write down what is left", lambda: note(target, repo)),
    )


def note(target: Target, repo: Repository) -> None:
    """Write down what the catalogue holds now, for whoever may not read the repository."""
    status.note_catalogue(target, catalogue.catalogue(repo), encrypted=True)


def _nobody(text: str) -> None:
    """Tell nobody."""


def _verified(target: Target) -> list[str]:
    return list(status.read(target)["verify"].get("sound", ()))


def drop(target: Target, repo: Repository, leaving: Collection[str]) -> None:
    """Take backups out of the catalogue, then forget their snapshots, in this order.

    What is left is looked at once more under the catalogue's lock: what began to build upon one of
    them meanwhile goes too, and Refused is raised when no full or verified one would stay.
    """

    def change(document: Document, listing: Listing) -> Change:
        found = catalogue.complete(document, listing)
        every = {i for backup_id in leaving for i in going(found, backup_id)}
        keep_one(found, every, _verified(target))
        kept = [entry for entry in document.entries if entry.backup_id not in every]
        return Change(kept, forget_now=True)

    catalogue.update(target, repo, change)


def add(
    target: Target, repo: Repository, new: Sequence[Entry], policy: Policy, progress: Progress
) -> bool:
    """List backups as :func:`catalogue.add`, and let retention act in the same change.

    Sweeps what killed runs left behind, too. Tells ``progress`` when nothing may go; returns
    whether something was forgotten, for :func:`give_back`.
    """

    def change(document: Document, listing: Listing) -> Change:
        kept = catalogue.with_new(document, listing, new)
        found = catalogue.complete(document.model_copy(update={"entries": tuple(kept)}), listing)
        leaving = _leaving(found, retention(found, policy), _verified(target), progress)
        lost = orphans(document, [*document.entries, *new], listing, datetime.now(UTC))
        kept = [entry for entry in kept if entry.backup_id not in leaving]
        return Change(kept, lost, bool(leaving or lost))

    return catalogue.update(target, repo, change)


def _leaving(
    found: Sequence[Entry], choice: Choice, verified: Collection[str], progress: Progress
) -> set[str]:
    """Return what may go now: nothing that is old while no verified backup would stay.

    What is superfluous goes all the same, unless it was verified: else a crash loop fills the disk.
    """
    try:
        keep_one(found, choice.every, verified)
    except Refused as refusal:
        progress(f"nothing expired: {refusal}")
        return {
            one
            for full in choice.superfluous - choice.aged
            if not (family := going(found, full)).intersection(verified)
            for one in family
        }
    return choice.every


def give_back(target: Target, repo: Repository, forgotten: bool, progress: Progress) -> None:
    """Give space back when something was forgotten, and otherwise once a day.

    A run that was killed may have left data that no snapshot knows.
    """
    if forgotten or _prune_due(target):
        tidy(target, repo, progress)


def orphans(
    document: Document, known: Sequence[Entry], listing: Listing, now: datetime
) -> list[str]:
    """Return old snapshots that belong to nothing: what runs left that were killed before the end.

    A young one may belong to a run that goes on, and one from before a catalogue was lost to a
    backup that only that one knew.
    """
    needed = {i for entry in known for i in entry.snapshots.values()}
    before = now - timedelta(hours=ORPHAN_HOURS)
    after = document.unsure_before or datetime.min.replace(tzinfo=UTC)
    return [
        snapshot.snapshot_id
        for snapshot in listing.snapshots
        if snapshot.snapshot_id not in needed
        and catalogue.TAG not in snapshot.tags
        and after <= snapshot.time < before
    ]


def tidy(target: Target, repo: Repository, progress: Progress) -> None:
    """Give back the space of what was forgotten, unless a verification or a backup runs now."""
    try:
        with lock.hold(target, "verify"):
            repo.prune(progress)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        status.update(target, "prune", {"last_success": now})
    except Busy as busy:
        progress(f"space is given back after a later backup: {busy}")


def _prune_due(target: Target) -> bool:
    last = status.read(target)["prune"].get("last_success")
    before = datetime.now(UTC) - timedelta(hours=PRUNE_HOURS)
    return last is None or datetime.fromisoformat(last) < before
