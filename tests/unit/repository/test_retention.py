"""Histories of months, a backup at a time: what may go, what stays, and how much that is."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import groupby

import pytest

from dbops.contract import RecoveryWindow
from dbops.repository import expiry, routes
from dbops.repository.retention import MOST_AUTOMATIC, Policy
from dbops.repository.routes import Entry
from tests.unit.repository.test_expiry import NOON, entry

DAY = 24.0
WEEKLY = Policy(2, 7 * 86400.0)
DAILY = Policy(7)


def expired(found: list[Entry], policy: Policy) -> list[Entry]:
    """Return what is left of a history after retention has acted."""
    gone = expiry.retention(found, policy).every
    return [one for one in found if one.backup_id not in gone]


def played(steps: list[Entry], policy: Policy) -> list[Entry]:
    """Return what is left when retention acts after each full backup."""
    found: list[Entry] = []
    for one in steps:
        found.append(one)
        if one.manifest.kind == "full":
            found = expired(found, policy)
    return found


def ids(found: list[Entry]) -> list[str]:
    return [one.backup_id for one in found if one.manifest.kind == "full"]


def crash(hours: float, size: int = 100) -> list[Entry]:
    """Return what a crash leaves: a base of the kit's own and half a minute of log."""
    base = entry("full", hours, size=size, automatic=True)
    return [base, entry("log", hours + 0.5 / 60, base.backup_id)]


def daily(days: int, size: int = 100) -> list[Entry]:
    """Return daily full backups, each with a log up to the next."""
    found = []
    for day in range(days):
        full = entry("full", day * DAY, size=size)
        found += [full, entry("log", day * DAY + 23.99, full.backup_id)]
    return found


def test_seven_daily_ones_are_seven_days() -> None:
    left = played(daily(30), DAILY)
    assert ids(left) == ids(daily(30))[-7:]


def test_a_crash_loop_costs_no_history() -> None:
    before = daily(8)
    loop = [one for number in range(100) for one in crash(7 * DAY + 2 + number / 60)]
    left = played([*before, *loop], DAILY)
    assert ids(left)[:7] == ids(before)[-7:], "what was asked for stays"
    assert len(ids(left)) == 7 + MOST_AUTOMATIC
    assert left[-1] == loop[-1], "the log goes on from the newest"


def test_a_crash_loop_costs_no_log_of_the_bases_before_it() -> None:
    """Those go first whose log is the shortest."""
    failover = entry("full", 7 * DAY + 1, size=100, automatic=True)
    its_log = entry("log", 7 * DAY + 8, failover.backup_id)
    loop = [one for number in range(100) for one in crash(7 * DAY + 9 + number / 60)]
    left = played([*daily(8), failover, its_log, *loop], DAILY)
    assert failover in left
    assert its_log in left


def test_the_first_of_all_stays_though_its_log_is_short() -> None:
    """Before the schedule's first one, the history begins with one that the log began with."""
    first = entry("full", 0, size=100, automatic=True)
    others = [entry("full", 1 + number, size=100, automatic=True) for number in range(9)]
    logs = [entry("log", 1.9 + number, one.backup_id) for number, one in enumerate(others)]
    steps = sorted([first, *others, *logs], key=lambda one: one.manifest.stop)
    left = played(steps, DAILY)
    assert left[0] == first
    assert len(ids(left)) == MOST_AUTOMATIC


def test_a_crash_loop_that_lost_the_data_fills_no_disk_and_costs_no_history() -> None:
    before = [*daily(8), *crash(7 * DAY + 1)]
    loop = [one for number in range(100) for one in crash(7 * DAY + 2 + number / 60, size=1)]
    left = played([*before, *loop], DAILY)
    assert left[: len(played(before, DAILY))] == played(before, DAILY)
    small = [one for one in left if one.manifest.bytes_read == 1 and one.manifest.kind == "full"]
    assert len(small) == MOST_AUTOMATIC


def test_automatic_ones_go_with_the_scheduled_ones_before_them() -> None:
    loop = [one for number in range(10) for one in crash(2 + number / 60)]
    steps = sorted([*daily(8), *loop], key=lambda one: one.manifest.stop)
    assert any(one in played(steps, DAILY) for one in loop) is False
    assert all(one in played(steps[:-4], DAILY) for one in loop[-2:])


def test_restores_in_a_row_cost_no_history() -> None:
    """As MariaDB's play does: a full backup of its own after each restore."""
    before = [entry("full", 0), entry("full", 7 * DAY)]
    after = [entry("full", 7 * DAY + hours, automatic=True) for hours in range(1, 4)]
    assert played([*before, *after], WEEKLY) == [*before, *after]


def test_full_backups_taken_by_hand_cost_no_history() -> None:
    by_hand = [entry("full", 8 * DAY + hours) for hours in range(10)]
    weekly = [entry("full", 7 * DAY * week) for week in range(2)]
    assert ids(played([*weekly, *by_hand], WEEKLY))[:2] == ids(weekly)


def test_an_automatic_one_with_increments_upon_it_stays() -> None:
    needed = entry("full", 1, automatic=True)
    upon = entry("incremental", 2, needed.backup_id)
    loop = [entry("full", 3 + number, automatic=True) for number in range(20)]
    left = played([entry("full", 0), needed, upon, *loop], WEEKLY)
    assert needed in left
    assert upon in left
    assert len(ids(left)) == 1 + MOST_AUTOMATIC


@pytest.mark.parametrize("verified", [0, 1])
def test_a_crash_loop_fills_no_disk_while_old_ones_must_stay(verified: int) -> None:
    """The last verified one is beyond retention, so nothing that is old goes."""
    told: list[str] = []
    found = [one for one in daily(9) if one.manifest.kind == "full"]
    loop = [one for number in range(20) for one in crash(8 * DAY + 2 + number / 60)]
    sound = [found[verified].backup_id]
    choice = expiry.retention([*found, *loop], DAILY)
    leaving = expiry._leaving([*found, *loop], choice, sound, told.append)
    assert leaving.isdisjoint(ids(found))
    assert len([one for one in ids(loop) if one not in leaving]) == MOST_AUTOMATIC
    assert "no verified backup" in told[0]


def _random(seed: int) -> list[Entry]:
    """Return sixty days of a schedule that is late at times, by hand, crashes and bad days."""
    rng = random.Random(seed)
    steps: list[Entry] = []
    for day in range(60):
        now = day * DAY + rng.random() * 2
        size = 1 if rng.random() < 0.1 else rng.randrange(100, 150)
        steps.append(entry("full", now, size=size))
        for _ in range(rng.choice([0, 0, 0, 1, 10])):
            now += rng.random()
            steps += crash(now, size=rng.choice([1, 100, 100]))
        for _ in range(rng.choice([0, 0, 1, 3])):
            now += rng.random()
            steps.append(entry("full", now, size=120))
    return steps


@pytest.mark.parametrize("seed", range(12))
def test_what_the_owner_was_promised_holds_in_any_history(seed: int) -> None:
    found: list[Entry] = []
    steps = _random(seed)
    for one in steps:
        before, found = found, [*found, one]
        if one.manifest.kind != "full":
            continue
        found = expired(found, DAILY)
        now = one.manifest.stop
        first = steps[0].manifest.stop
        reach = routes.window(found)
        assert reach is not None
        assert reach.oldest <= max(first, now - timedelta(days=5.75)), "seven days of history"
        assert found[-1] == one
        assert set(ids(found)) <= {*ids(before), one.backup_id}, "what went does not come back"
        _bounded(found)


def _bounded(found: list[Entry]) -> None:
    """See that no more automatic ones are left between two others than may be."""
    fulls = [one.manifest for one in found if one.manifest.kind == "full"]
    for automatic, stretch in groupby(fulls, key=lambda one: one.automatic):
        if automatic:
            assert len(list(stretch)) <= 2 * MOST_AUTOMATIC


def test_gaps_are_told() -> None:
    first = entry("full", 0)
    log = entry("log", 1, first.backup_id)
    second = entry("full", 2)
    found = [first, log, second, entry("log", 3, second.backup_id)]
    reach = routes.window(found)
    assert reach is not None
    assert reach.gaps == ((NOON + timedelta(hours=1), NOON + timedelta(hours=2)),)
    closed = [first, entry("log", 2, first.backup_id), second]
    assert routes.window(closed) == RecoveryWindow(NOON, NOON + timedelta(hours=2))
    running = [first, second, entry("log", 3)]
    assert routes.window(running) == RecoveryWindow(NOON, NOON + timedelta(hours=3))
