"""Which segments a recovery needs, on one timeline and across forks."""

from __future__ import annotations

import pytest

from dbops.engines.postgresql import replay, wal
from dbops.errors import VerificationFailed

pytestmark = pytest.mark.unit

SEGMENT = wal.SEGMENT_BYTES


def names(timeline: int, *numbers: int) -> set[str]:
    return {wal.segment_name(timeline, number) for number in numbers}


def test_one_timeline_without_a_gap() -> None:
    found = replay.path(names(1, 1, 2, 3, 4), wal.segment_name(1, 2), 1, [])

    assert found == [wal.segment_name(1, number) for number in (2, 3, 4)]


def test_a_gap_is_named() -> None:
    with pytest.raises(VerificationFailed, match="000000010000000000000003"):
        replay.path(names(1, 2, 4), wal.segment_name(1, 2), 1, [])


def test_the_first_segment_missing_is_a_gap() -> None:
    with pytest.raises(VerificationFailed, match="000000010000000000000002"):
        replay.path(names(1, 3, 4), wal.segment_name(1, 2), 1, [])


def test_an_empty_archive_is_a_gap() -> None:
    with pytest.raises(VerificationFailed, match="000000010000000000000002"):
        replay.path(set(), wal.segment_name(1, 2), 1, [])


def test_across_a_fork_the_new_timeline_is_followed() -> None:
    available = names(1, 2, 3, 4, 5, 6) | names(2, 4, 5)

    found = replay.path(available, wal.segment_name(1, 2), 2, [(1, 4 * SEGMENT + 100)])

    assert found == [
        *(wal.segment_name(1, number) for number in (2, 3)),
        *(wal.segment_name(2, number) for number in (4, 5)),
    ]


def test_at_the_fork_the_old_copy_serves_and_after_it_it_does_not() -> None:
    forks = [(1, 4 * SEGMENT + 100)]
    available = names(1, 2, 3, 4, 5)

    found = replay.path(available, wal.segment_name(1, 2), 2, forks)
    assert found[-1] == wal.segment_name(1, 4)

    with pytest.raises(VerificationFailed, match="000000020000000000000005"):
        replay.path(available | names(2, 6), wal.segment_name(1, 2), 2, forks)


def test_the_newest_descendant_is_chosen_and_a_foreign_branch_is_not() -> None:
    histories = {2: [(1, 100)], 3: [(1, 100), (2, 200)], 4: [(9, 50)]}

    assert replay.newest_timeline(1, histories, {1, 2, 3}) == 3
    assert replay.newest_timeline(2, histories, {2, 3}) == 3
    assert replay.newest_timeline(1, {}, {1}) == 1


def test_a_timeline_without_its_history_is_refused() -> None:
    with pytest.raises(VerificationFailed, match=r"00000002\.history"):
        replay.newest_timeline(1, {}, {1, 2})
