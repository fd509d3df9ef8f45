"""Letting old backups go, never the last full one, the last verified one, or what others need.

What is *not* here: how the catalogue is kept; see :mod:`.catalogue`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from dbops import lock, status
from dbops.contract import Progress
from dbops.errors import Busy, Refused
from dbops.repository import catalogue, plausible, routes
from dbops.repository.catalogue import Change, Document
from dbops.repository.restic import Repository
from dbops.repository.restic_output import Listing
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


def retention(found: Sequence[Entry], keep_full: int) -> set[str]:
    """Return the ids that go when the ``keep_full`` newest full backups stay with what needs them.

    At least one full backup stays whatever ``keep_full`` says. A suspect one is not counted: it
    goes with those before it.
    """
    fulls = routes.fulls(found)
    suspect = plausible.suspects(fulls)
    counted = [full.backup_id for full in fulls if full.backup_id not in suspect]
    oldest = counted[-max(1, keep_full) :][:1]
    ids = [full.backup_id for full in fulls]
    old = ids[: ids.index(oldest[0])] if oldest else []
    return {backup_id for full in old for backup_id in going(found, full)}


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


def plan(target: Target, repo: Repository, backup_id: str | None, keep_full: int) -> Plan:
    """Return the steps that expire one backup and what builds upon it, or what retention lets go.

    Raises ConfigError for an unknown backup, Refused when that would leave no full backup, or none
    that was verified.
    """
    found = catalogue.entries(repo)
    if backup_id is None:
        leaving = retention(found, keep_full)
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
    )


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
    target: Target, repo: Repository, new: Sequence[Entry], keep_full: int, progress: Progress
) -> bool:
    """List backups as :func:`catalogue.add`, and let retention act in the same change.

    Sweeps what killed runs left behind, too. Tells ``progress`` when nothing may go; returns
    whether something was forgotten, for :func:`give_back`.
    """

    def change(document: Document, listing: Listing) -> Change:
        kept = catalogue.with_new(document, listing, new)
        found = catalogue.complete(document.model_copy(update={"entries": tuple(kept)}), listing)
        leaving = retention(found, keep_full)
        lost = orphans(document, [*document.entries, *new], listing, datetime.now(UTC))
        try:
            keep_one(found, leaving, _verified(target))
        except Refused as refusal:
            progress(f"nothing expired: {refusal}")
            leaving = set()
        kept = [entry for entry in kept if entry.backup_id not in leaving]
        return Change(kept, lost, bool(leaving or lost))

    return catalogue.update(target, repo, change)


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
