"""Positions, segments, timelines and holes."""

from __future__ import annotations

import pytest

from dbops.engines.postgresql import wal


@pytest.mark.parametrize(
    ("text", "position"),
    [("0/0", 0), ("16/B374D848", 0x16B374D848), ("ffffffff/1", 0xFFFFFFFF00000001)],
)
def test_positions_are_read_and_written(text: str, position: int) -> None:
    assert wal.parse_lsn(text) == position
    assert wal.parse_lsn(wal.format_lsn(position)) == position


@pytest.mark.parametrize(
    "text", ["", "0", "0/", "/0", "0/123456789", "x/1", "0/1\n", " 0/1", "0/1;"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="log position"):
        wal.parse_lsn(text)


def test_segment_names_carry_over_to_the_next_log_file() -> None:
    assert wal.segment_name(2, 255) == "0000000200000000000000FF"
    assert wal.segment_name(2, 256) == "000000020000000100000000"
    assert wal.split_segment("000000020000000100000000") == (2, 256)


def test_the_record_after_a_full_page_begins_behind_the_header() -> None:
    assert wal.next_record(0xAD000000) == 0xAD000028
    assert wal.next_record(0xAD002000) == 0xAD002018
    assert wal.next_record(0xAD002010) == 0xAD002010


def test_only_segments_are_taken_from_a_listing() -> None:
    name = "0000000100000000000000AB"
    assert wal.stored_segment(f"15-1/0000000100000000/{name}-{'a' * 40}.zst") == name
    assert wal.stored_segment(f"{name}-{'a' * 40}") == name
    assert wal.stored_segment(f"{name}.00000028.backup") is None
    assert wal.stored_segment(f"{name}.partial-{'a' * 40}.zst") is None
    assert wal.stored_segment("00000002.history") is None


def names(timeline: int, *numbers: int) -> set[str]:
    return {wal.segment_name(timeline, number) for number in numbers}


def test_a_hole_is_named() -> None:
    present = names(1, 1, 2, 3, 5)
    assert wal.first_hole(present, wal.segment_name(1, 1), 1) == wal.segment_name(1, 4)
    assert wal.first_hole(present, wal.segment_name(1, 5), 1) is None


def test_a_missing_first_segment_is_a_hole() -> None:
    assert wal.first_hole(names(1, 5), wal.segment_name(1, 4), 1) == wal.segment_name(1, 4)
    assert wal.first_hole(set(), wal.segment_name(1, 4), 1) == wal.segment_name(1, 4)


def test_the_way_follows_timelines() -> None:
    ancestors = wal.parse_history("1\t0/5000100\tno recovery target specified\n\n")
    assert ancestors == [(1, 0x5000100)]
    present = names(1, 3, 4) | names(2, 5, 6)
    assert wal.first_hole(present, wal.segment_name(1, 3), 2, ancestors) is None
    assert wal.last_number(present, 2, ancestors) == 6
    assert wal.first_hole(present - names(1, 4), wal.segment_name(1, 3), 2, ancestors) == (
        wal.segment_name(1, 4)
    )


def test_what_an_abandoned_timeline_holds_does_not_count() -> None:
    ancestors = [(1, 0x5000100)]
    present = names(1, 3, 4, 5, 6, 7, 9) | names(2, 5)
    assert wal.first_hole(present, wal.segment_name(1, 3), 2, ancestors) is None
    assert wal.on_path(1, 0x5000100, 2, ancestors)
    assert not wal.on_path(1, 0x5000101, 2, ancestors)
    assert not wal.on_path(3, 1, 2, ancestors)
