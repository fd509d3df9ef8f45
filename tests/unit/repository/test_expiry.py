"""What may go and what stays: random histories, and the promises that hold in each."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from dbops.errors import ConfigError, Refused
from dbops.manifest import Kind, Manifest
from dbops.repository import catalogue, expiry, plausible, routes
from dbops.repository.catalogue import Document
from dbops.repository.restic_output import Listing, Snapshot
from dbops.repository.retention import Policy
from dbops.repository.routes import Entry, new_id

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = 3600.0


def entry(
    kind: Kind,
    hours: float,
    parent_id: str | None = None,
    size: int = 1,
    automatic: bool = False,
    accepted: bool = False,
) -> Entry:
    stop = NOON + timedelta(hours=hours)
    made = Manifest(
        engine="mysql",
        version="10.11",
        cluster="sql",
        member="mysql1",
        backup_id=new_id(kind, stop, parent_id),
        kind=kind,
        parent_id=parent_id,
        start=stop - timedelta(minutes=1),
        stop=stop,
        start_point="1",
        stop_point="2",
        bytes_read=size,
        bytes_stored=1,
        encrypted=True,
        tool="restic",
        tool_version="0.14.0",
        dbops_version="0",
        automatic=automatic,
        accepted=accepted,
    )
    return Entry(manifest=made, snapshots={"a": made.backup_id.rjust(64, "0")})


def history(seed: int) -> list[Entry]:
    """Return up to thirty backups, each upon a random one of the newest full's chain."""
    rng = random.Random(seed)
    found = [entry("full", 0)]
    for hours in range(1, rng.randrange(2, 30)):
        newest = max(i for i, e in enumerate(found) if e.manifest.kind == "full")
        upon = [e for e in found[newest:] if e.manifest.kind != "log"]
        kind: Kind = rng.choice(["full", "incremental", "incremental", "log"])
        parent = None if kind == "full" else rng.choice(upon).backup_id
        found.append(entry(kind, hours, parent))
    return found


def whole(found: list[Entry]) -> bool:
    known = {e.backup_id for e in found}
    return all(e.manifest.parent_id in known | {None} for e in found)


@pytest.mark.parametrize("seed", range(300))
def test_retention_keeps_whole_chains_of_the_newest(seed: int) -> None:
    found, keep = history(seed), random.Random(seed).randrange(0, 4)
    leaving = expiry.retention(found, Policy(keep, HOUR)).every
    staying = [e for e in found if e.backup_id not in leaving]
    fulls = [e for e in found if e.manifest.kind == "full"]
    assert [e for e in staying if e.manifest.kind == "full"] == fulls[-max(1, keep) :]
    assert whole(staying)
    # What goes all belongs to the full backups that go.
    for gone in (e for e in found if e.backup_id in leaving):
        assert routes.chain(found, gone)[0].backup_id in leaving


@pytest.mark.parametrize(
    ("sizes", "keep", "going"),
    [
        ([100, 100, 40], 2, 0),  # the small one is suspect and takes no good one's place
        ([100, 100, 40, 40], 2, 0),  # so is the next, however many there are
        ([100, 100, 40, 40, 40, 40], 2, 0),
        ([100, 40], 1, 0),
        ([100, 40, 15], 1, 0),
        (
            [100, 100, 40, 100],
            2,
            1,
        ),  # one that is large again ends it; the small one does not count
        ([100, 40, 100], 1, 2),
        ([100, 50], 1, 1),
    ],
)
def test_a_suspect_full_backup_pushes_out_no_good_one(
    sizes: list[int], keep: int, going: int
) -> None:
    found = [entry("full", hours, size=size) for hours, size in enumerate(sizes)]
    upon = entry("incremental", len(sizes), found[0].backup_id)
    leaving = expiry.retention([*found, upon], Policy(keep, HOUR)).every
    gone = [one.backup_id for one in found[:going]] + ([upon.backup_id] if going else [])
    assert leaving == set(gone)


def test_what_a_person_accepted_is_the_measure_and_counts() -> None:
    found = [entry("full", hours, size=size) for hours, size in enumerate([100, 100, 40])]
    accepted = entry("full", 3, size=40, accepted=True)
    assert plausible.doubt(routes.fulls(found)) is not None
    assert plausible.doubt(routes.fulls([*found, accepted])) is None
    after = [*found, accepted, entry("full", 4, size=39)]
    assert plausible.doubt(routes.fulls(after)) is None
    gone = expiry.retention(after, Policy(2, HOUR)).every
    assert gone == {one.backup_id for one in found}
    smaller = [*after, entry("full", 5, size=15)]
    words = plausible.doubt(routes.fulls(smaller))
    assert words is not None
    assert f"half of the 39 of {after[-1].backup_id}" in words


@pytest.mark.parametrize("seed", range(300))
def test_expiry_of_any_one_leaves_whole_chains_or_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    found = history(seed)
    verified = [e.backup_id for e in found if e.manifest.kind != "log" and rng.random() < 0.4]
    chosen = rng.choice([e for e in found if e.manifest.kind != "log"]).backup_id
    leaving = expiry.going(found, chosen)
    staying = [e for e in found if e.backup_id not in leaving]
    assert chosen in leaving
    assert whole(staying)
    good = any(e.manifest.kind == "full" for e in staying) and (
        not verified or any(e.backup_id in verified for e in staying)
    )
    if good:
        expiry.keep_one(found, leaving, verified)
    else:
        with pytest.raises(Refused, match=r"would leave no (full|verified) backup"):
            expiry.keep_one(found, leaving, verified)


def test_a_backup_verified_long_ago_and_gone_protects_nothing() -> None:
    found = [entry("full", 0), entry("full", 1)]
    oldest = found[0].backup_id
    expiry.keep_one(found, {oldest}, ["20200101-000000F"])
    with pytest.raises(Refused, match="no verified backup"):
        expiry.keep_one(found, {oldest}, ["20200101-000000F", oldest])


def snapshot(number: int, hours: float, *tags: str) -> Snapshot:
    return Snapshot(f"{number:064x}", NOON - timedelta(hours=hours), tags, ("/a",))


def test_only_old_snapshots_that_nothing_needs_are_orphans() -> None:
    needed = Entry(manifest=entry("full", 0).manifest, snapshots={"a": f"{1:064x}"})
    listing = Listing(
        (
            snapshot(1, 100),
            snapshot(2, 100),
            snapshot(3, 1),
            snapshot(4, 100, catalogue.TAG, "generation-1"),
        ),
        (),
    )
    document = Document(generation=1, entries=(needed,))
    assert expiry.orphans(document, [needed], listing, NOON) == [f"{2:064x}"]
    # After a catalogue was lost, what came before may be of a backup that only it knew.
    unsure = document.model_copy(update={"unsure_before": NOON - timedelta(hours=99)})
    assert expiry.orphans(unsure, [needed], listing, NOON) == []


def test_a_full_backup_that_was_thinned_out_is_forgotten_soon() -> None:
    now = datetime.now(UTC)
    snapshots = tuple(
        Snapshot(f"{number:064x}", now - timedelta(hours=hours), tags, ("/a",))
        for number, (hours, tags) in enumerate(
            [(0.4, ("full", "m")), (0.6, ("full", "m")), (2.9, ("log",)), (3.1, ("log",))]
        )
    )
    dropped = [one.snapshot_id for one in snapshots]
    found = catalogue._unread(dropped, Listing(snapshots, ()))
    assert found == [dropped[1], dropped[3]]


def test_what_lacks_a_snapshot_or_its_parent_is_not_listed() -> None:
    full = entry("full", 0)
    part = entry("incremental", 1, full.backup_id)
    log = entry("log", 2, part.backup_id)
    other = entry("full", 3)
    every = Document(generation=1, entries=(full, part, log, other))
    there = {e.backup_id: Snapshot(e.snapshots["a"], NOON, (), ("/a",)) for e in every.entries}

    def listed(*absent: Entry) -> list[Entry]:
        gone = {e.backup_id for e in absent}
        left = tuple(s for i, s in there.items() if i not in gone)
        return list(catalogue.complete(every, Listing(left, ())))

    assert listed() == [full, part, log, other]
    assert listed(part) == [full, other]
    assert listed(full) == [other]
    assert catalogue.missing(every, Listing(tuple(there.values()), ())) == []


def test_routes_go_to_a_backup_a_time_or_the_newest() -> None:
    full = entry("full", 0)
    part = entry("incremental", 2, full.backup_id)
    first, log = entry("log", 1, full.backup_id), entry("log", 4, part.backup_id)
    found = [full, first, part, log]
    newest = routes.route(found)
    assert (newest.chain, newest.log) == ((full, part), log)
    at = routes.route(found, time=NOON + timedelta(hours=0.5))
    assert (at.chain, at.log) == ((full,), first)
    assert routes.route(found, time=part.manifest.stop).log is None
    for time, backup_id, words in (
        (NOON - timedelta(hours=1), None, "is outside the recovery window, which is from"),
        (NOON + timedelta(hours=5), None, "is outside the recovery window"),
        (NOON + timedelta(hours=1.5), None, "its log ends at 2026-01-02T13:00:00"),
        (NOON + timedelta(hours=1), part.backup_id, "is before the end of backup"),
        (None, "x", "No backup 'x' in the catalogue"),
    ):
        with pytest.raises(ConfigError, match=words):
            routes.route(found, backup_id, time)
    with pytest.raises(ConfigError, match="holds no backup"):
        routes.route([])


def test_a_log_without_a_parent_goes_on_from_any_backup() -> None:
    full, later, log = entry("full", 0), entry("full", 1), entry("log", 3)
    found = [full, later, log]
    at = routes.route(found, full.backup_id, NOON + timedelta(hours=2))
    assert (at.chain, at.log) == ((full,), log)


def test_ids() -> None:
    full = new_id("full", NOON)
    assert full == "20260102-120000F"
    part = new_id("incremental", NOON, full)
    assert part == "20260102-120000F_20260102-120000I"
    assert new_id("incremental", NOON, part) == part
    assert new_id("log", NOON, full) == "20260102-120000L"
