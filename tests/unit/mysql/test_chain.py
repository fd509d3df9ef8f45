"""Which binary log files a restore needs: followed, cut, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.engines.mysql import archive, binlog, chain, gtid, index, replay
from dbops.engines.mysql.chain import Chain
from dbops.errors import VerificationFailed
from tests.unit.mysql.made import event, files, log, moment, transaction


def run(numbers: range, *, server: int = 1, at: int = 0) -> list[bytes]:
    from tests.unit.mysql.made import EPOCH

    return [transaction(n, server=server, at=EPOCH + at + n) for n in numbers]


def names(found: Chain) -> list[str]:
    return [file.words for segment in found.segments for file in segment.files]


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    path = log(
        tmp_path / "m1/s/binlog.000001", "0-1-4", *run(range(5, 8)), transaction(1, domain=3)
    )
    found = binlog.summary(path)
    assert (str(found.before), str(found.after)) == ("0-1-4", "0-1-7,3-1-1")
    assert found.closed
    assert found.runs[0] == binlog.Run("0", 1, 5, 7)
    assert [str(one.gtid) for one in binlog.transactions(path)][-1] == "3-1-1"


def test_what_is_cut_off_at_the_end_is_left_out(tmp_path: Path) -> None:
    path = log(tmp_path / "m1/s/binlog.000001", "0-1-4", *run(range(5, 8)), closed=False)
    path.write_bytes(path.read_bytes()[:-4])
    found = binlog.summary(path)
    assert str(found.after) == "0-1-6"
    assert not found.closed


@pytest.mark.parametrize(
    "data", [b"", b"\xfebi", b"not a binary log at all", b"\xfebin" + b"\0" * 40]
)
def test_what_is_no_binary_log_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "binlog.000001"
    path.write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"binlog\.000001"):
        binlog.summary(path)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = log(tmp_path / "binlog.000001", "", event(164, b"\0" * 20))
    with pytest.raises(VerificationFailed, match="encrypted"):
        binlog.summary(path)


def test_files_are_followed_from_the_backup_on(tmp_path: Path) -> None:
    found = chain.follow(
        files(
            log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 5))),
            log(tmp_path / "m1/s/binlog.000002", "0-1-4", *run(range(5, 9))),
            log(tmp_path / "m1/s/binlog.000003", "0-1-8", *run(range(9, 12)), closed=False),
        ),
        gtid.parse("0-1-6"),
    )
    assert names(found) == ["m1/binlog.000002", "m1/binlog.000003"]
    assert str(found.end) == "0-1-11"


def test_a_hole_is_named(tmp_path: Path) -> None:
    listed = files(
        log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 5))),
        log(tmp_path / "m1/s/binlog.000003", "0-1-8", *run(range(9, 12))),
    )
    for until in (None, gtid.parse("0-1-11"), gtid.parse("0-1-6")):
        with pytest.raises(VerificationFailed, match=r"m1/binlog\.000002 is gone"):
            chain.follow(listed, gtid.parse("0-1-2"), until)
    assert names(chain.follow(listed, gtid.parse("0-1-2"), gtid.parse("0-1-3"))) == [
        "m1/binlog.000001"
    ]


def test_a_point_after_the_end_is_refused(tmp_path: Path) -> None:
    listed = files(log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 5))))
    with pytest.raises(VerificationFailed, match="ends at 0-1-4"):
        chain.follow(listed, gtid.parse("0-1-2"), gtid.parse("0-1-9"))


def test_another_members_file_fills_a_hole(tmp_path: Path) -> None:
    found = chain.follow(
        files(
            log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 5))),
            log(tmp_path / "m1/s/binlog.000003", "0-1-8", *run(range(9, 12))),
            log(tmp_path / "m2/s/binlog.000009", "0-1-2", *run(range(3, 9))),
        ),
        gtid.parse("0-1-2"),
    )
    assert str(found.end) == "0-1-11"
    assert names(found)[-1] == "m1/binlog.000003"


def test_a_branch_that_a_failover_left_is_not_replayed(tmp_path: Path) -> None:
    old = log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 10)))
    new = log(
        tmp_path / "m2/s/binlog.000001", "", *run(range(1, 7)), *run(range(7, 9), server=2, at=60)
    )
    found = chain.follow(files(old, new), gtid.parse("0-1-3"))
    assert names(found) == ["m2/binlog.000001"]
    assert [file.words for file in found.left_out] == ["m1/binlog.000001"]
    assert found.newest
    assert str(found.end) == "0-2-8"


def test_of_several_right_ways_the_one_through_fewer_members_is_taken(tmp_path: Path) -> None:
    found = chain.follow(
        files(
            log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 6))),
            log(tmp_path / "m2/s/binlog.000001", "", *run(range(1, 6))),
            log(tmp_path / "m2/s/binlog.000002", "0-1-5", *run(range(6, 10), server=2)),
        ),
        gtid.parse("0-1-3"),
    )
    assert names(found) == ["m2/binlog.000001", "m2/binlog.000002"]
    assert len(found.segments) == 1


@pytest.mark.parametrize("until", [None, "0-1-12", "0-1-9"])
def test_a_lost_primarys_file_is_left_where_the_new_ones_begins(
    tmp_path: Path, until: str | None
) -> None:
    lost = log(tmp_path / "m2/s/binlog.000001", "", *run(range(1, 10), server=2))
    rebuilt = log(
        tmp_path / "m1/s/binlog.000001",
        "0-2-5",
        *run(range(6, 8), server=2),
        *run(range(8, 13), at=60),
    )
    start, point = gtid.parse("0-2-3"), gtid.parse(until) if until else None
    found = chain.follow(files(lost, rebuilt), start, point)
    assert names(found) == ["m2/binlog.000001", "m1/binlog.000001"]
    assert str(found.segments[0].until) == "0-2-5"
    assert found.end == gtid.parse(until or "0-1-12")
    assert found.newest
    assert str(replay.stop(found.segments[0], point)) == "0-2-5"
    cut = chain.at_time(found, start, moment(7.5))
    assert str(cut.position) == "0-2-7", "a transaction of the lost primary alone was counted"


def test_an_older_backup_leads_over_a_restore_into_the_new_history(tmp_path: Path) -> None:
    old = log(tmp_path / "m1/1/binlog.000001", "0-1-2", *run(range(3, 10)))
    new = log(tmp_path / "m1/2/binlog.000001", "0-1-6", *run(range(99, 103)), at=10)
    found = chain.follow(files(old, new), gtid.parse("0-1-3"))
    assert [str(segment.until) for segment in found.segments] == ["0-1-6", "0-1-102"]
    assert [file.summary.path for file in found.left_out] == []
    given_up = chain.follow(files(old, new), gtid.parse("0-1-8"))
    assert str(given_up.end) == "0-1-9"
    assert not given_up.newest


def test_a_time_is_cut_before_its_second(tmp_path: Path) -> None:
    listed = files(log(tmp_path / "m1/s/binlog.000001", "", *run(range(1, 10))))
    way = chain.follow(listed, gtid.parse("0-1-2"))
    cut = [str(chain.at_time(way, gtid.parse("0-1-2"), moment(s)).position) for s in (5, 5.5, 99)]
    assert cut == ["0-1-4", "0-1-5", "0-1-9"]


def test_a_gtid_of_the_history_left_behind_is_found_there(tmp_path: Path) -> None:
    old = log(tmp_path / "m1/1/binlog.000001", "0-1-2", *run(range(3, 10)))
    new = log(
        tmp_path / "m1/2/binlog.000001", "0-1-2", *run(range(3, 6)), *run(range(99, 103)), at=1
    )
    listed = chain.longest(files(old, new))
    assert len(listed) == 2
    point = gtid.parse("0-1-8")
    way = chain.follow(chain.toward(listed, point), gtid.parse("0-1-2"), point)
    assert [file.summary.path for file in way.segments[0].files] == [old]
    assert str(chain.follow(listed, gtid.parse("0-1-2")).end) == "0-1-102"


def test_a_backup_of_a_history_given_up_does_not_lead_into_the_new_one(tmp_path: Path) -> None:
    old = log(tmp_path / "m1/1/binlog.000001", "0-1-2", *run(range(3, 10)))
    new = log(
        tmp_path / "m1/2/binlog.000001", "0-1-2", *run(range(3, 6)), *run(range(99, 103)), at=1
    )
    listed = files(old, new)
    found = chain.follow(listed, gtid.parse("0-1-7"))
    assert [file.summary.path for file in found.segments[0].files] == [old]
    assert not found.newest
    assert chain.follow(listed, gtid.parse("0-1-2")).newest


def test_of_two_copies_the_longer_counts(tmp_path: Path) -> None:
    short = log(tmp_path / "m1/1/binlog.000001", "", *run(range(1, 3)), closed=False)
    whole = log(tmp_path / "m1/2/binlog.000001", "", *run(range(1, 9)))
    (found,) = archive.survey(tmp_path)
    assert found.summary.path == whole
    gone = archive.superseded([found], tmp_path, gtid.parse("0-1-1"))
    assert gone == [short]
    archive.tidy(gone)
    assert not short.parent.exists()


def test_a_file_that_a_full_disk_tore_does_not_stop_the_archive(tmp_path: Path) -> None:
    torn = log(tmp_path / "m1/1/binlog.000001", "", *run(range(1, 9)))
    torn.write_bytes(torn.read_bytes()[70:])
    holed = log(tmp_path / "m1/2/binlog.000001", "", *run(range(1, 9)))
    holed.write_bytes(holed.read_bytes()[:200] + holed.read_bytes()[300:])
    with pytest.raises(VerificationFailed, match="damaged at byte"):
        binlog.summary(holed)
    with pytest.raises(VerificationFailed):
        archive.survey(tmp_path)
    whole = log(tmp_path / "m1/3/binlog.000001", "", *run(range(1, 9)))
    found = archive.survey(tmp_path)
    assert [file.summary.path for file in found] == [whole]
    assert archive.superseded(found, tmp_path, gtid.parse("")) == [torn], (
        "holed may be all there is"
    )
    assert not binlog.begun(torn)
    assert binlog.begun(holed)


def test_what_was_read_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path / "m1/1/binlog.000001", "", *run(range(1, 9)))
    memory = tmp_path / "memory.json"
    before = archive.survey(tmp_path, memory)
    monkeypatch.setattr(binlog, "summary", None)
    assert archive.survey(tmp_path, memory) == before


def test_a_list_of_files_comes_back_as_it_was(tmp_path: Path) -> None:
    before = files(log(tmp_path / "m1/1/binlog.000001", "0-1-2,5-3-1", *run(range(3, 9))))
    assert index.read(index.write(before, tmp_path), tmp_path) == before
