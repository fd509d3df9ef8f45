"""MySQL's binary log: event bodies as MySQL 9.7 wrote them, and chains of such files."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from dbops.engines.mysql import archive, binlog, binlog_mysql, chain, gtid
from dbops.engines.mysql.chain import Chain
from dbops.errors import VerificationFailed
from tests.unit.mysql.made import EPOCH, event, files, moment

SOURCE = "b372c3d5-e938-11f1-808f-2e9daacd4fc4"
A, B = "aaaaaaaa-0000-11f1-808f-2e9daacd4fc4", "bbbbbbbb-0000-11f1-808f-2e9daacd4fc4"
PLAIN = (
    "00b372c3d5e93811f1808f2e9daacd4fc40a000000000000000209000000000000000b00000000000000"
    "ccad86dd236106fc150150620100142a24a7"
)
TAGGED = (
    "027a00000002cd02e40d035503a5037022c50301023d025c7502a90235039e1103040406087461677808240a28"
    "0c7fa7ac86dd2361061069041283120b8afc95b8"
)
PREVIOUS = (
    "0102000000000001b372c3d5e93811f1808f2e9daacd4fc4000100000000000000"
    "01000000000000000b00000000000000b372c3d5e93811f1808f2e9daacd4fc408746167780100000000000000"
    "010000000000000002000000000000001fbf1b39"
)


@pytest.mark.parametrize(
    ("kind", "body", "name", "length"),
    [
        (binlog_mysql.PLAIN, PLAIN, f"{SOURCE}:10", 277),
        (binlog_mysql.TAGGED, TAGGED, f"{SOURCE}:tagx:1", 282),
    ],
)
def test_the_head_of_a_transaction_is_read(kind: int, body: str, name: str, length: int) -> None:
    found = binlog_mysql.head(kind, bytes.fromhex(body))
    assert (str(found.gtid), found.length) == (name, length)
    assert found.at.replace(microsecond=0) == datetime(2026, 11, 26, 1, 28, 48, tzinfo=UTC)


def test_the_set_before_a_file_is_read() -> None:
    found = binlog_mysql.previous(Path("binlog.000002"), bytes.fromhex(PREVIOUS))
    assert str(found) == f"{SOURCE}:1-10,{SOURCE}:tagx:1-1"


def head(server: str, number: int, length: int, at: float) -> bytes:
    stamp = int((moment(at) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    first = (stamp + 7_000_000) | 1 << 55  # when it came here; when it was committed follows
    return (
        b"\0" + UUID(server).bytes + struct.pack("<QBQQ", number, 2, 0, 0)
        + first.to_bytes(7, "little") + stamp.to_bytes(7, "little")
        + b"\xfc" + struct.pack("<H", length)
    )  # fmt: skip


def transaction(server: str, number: int, at: float = 0) -> bytes:
    rest = event(2, b"BEGIN") + event(30, b"rows" * 5) + event(16, b"\0" * 8)
    length = len(event(33, head(server, number, 0, at))) + len(rest)
    return event(33, head(server, number, length, at)) + rest


def log(path: Path, before: str, *events: bytes, at: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = gtid.parse(before).last.values()
    listed = struct.pack("<Q", len(known)) + b"".join(
        UUID(one.history).bytes + struct.pack("<QQQ", 1, 1, one.number + 1) for one in known
    )
    begun = event(15, at=EPOCH + at) + event(35, listed, at=EPOCH + at)
    path.write_bytes(b"\xfebin" + begun + b"".join(events) + event(4, at=EPOCH + at))
    return path


def run(server: str, numbers: range, at: float = 0) -> list[bytes]:
    return [transaction(server, number, at + number) for number in numbers]


def names(found: Chain) -> list[str]:
    return [file.words for segment in found.segments for file in segment.files]


def test_a_file_says_what_it_holds_and_when_it_was_committed_first(tmp_path: Path) -> None:
    path = log(tmp_path / "m1/s/binlog.000002", f"{A}:1-4", *run(A, range(5, 8)))
    found = binlog.summary(path)
    assert (str(found.before), str(found.after)) == (f"{A}:1-4", f"{A}:1-7")
    assert (found.last_at, found.closed) == (moment(7), True)
    assert [one.at for one in binlog.transactions(path)] == [moment(n) for n in (5, 6, 7)]


def test_a_transaction_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    path = log(tmp_path / "binlog.000001", "", *run(A, range(1, 4)))
    path.write_bytes(path.read_bytes()[:-20])
    assert str(binlog.summary(path).after) == f"{A}:1-2"


def test_the_first_file_of_a_server_that_was_told_its_past_follows_it(tmp_path: Path) -> None:
    found = binlog.summary(log(tmp_path / "binlog.000001", "", *run(A, range(41, 44))))
    assert str(found.before) == f"{A}:1-40"


def test_what_no_file_tells_is_noted_beside_them(tmp_path: Path) -> None:
    """A rebuilt server's files know nothing of what it was told to be purged."""
    path = log(tmp_path / "m1/s/binlog.000002", "", *run(A, range(41, 44)))
    body = struct.pack("<Q", 1) + UUID(A).bytes + struct.pack("<QQQ", 1, 41, 44)
    later = tmp_path / "m1/s/binlog.000003"
    more = b"".join(run(A, range(44, 46)))
    later.write_bytes(b"\xfebin" + event(15, at=EPOCH + 1) + event(35, body) + more)
    archive.write_purged(path.parent, gtid.parse(f"{A}:1-40,{B}:1-7"))
    found = archive.survey(tmp_path)
    assert [str(one.summary.before) for one in found] == [
        f"{A}:1-40,{B}:1-7",
        f"{A}:1-43,{B}:1-7",
    ]
    assert str(chain.follow(found, gtid.parse(f"{A}:1-42,{B}:1-7")).end) == f"{A}:1-45,{B}:1-7"
    own = chain.completed(files(later), found)
    assert str(own[0].summary.before) == f"{A}:1-43,{B}:1-7"
    assert archive.superseded(found, tmp_path, gtid.parse(f"{A}:1-43,{B}:1-7")) == [path]


def test_a_hole_in_what_is_before_a_file_is_refused(tmp_path: Path) -> None:
    body = struct.pack("<Q", 1) + UUID(A).bytes + struct.pack("<QQQQQ", 2, 1, 5, 7, 9)
    path = tmp_path / "binlog.000001"
    path.write_bytes(b"\xfebin" + event(15) + event(35, body))
    with pytest.raises(VerificationFailed, match="hole"):
        binlog.summary(path)


def test_transactions_without_a_gtid_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "binlog.000001"
    path.write_bytes(b"\xfebin" + event(15) + event(34, b"\0" * 60))
    with pytest.raises(VerificationFailed, match="gtid_mode"):
        binlog.summary(path)


def test_a_failover_leaves_the_rest_of_the_old_primary_out(tmp_path: Path) -> None:
    """The old one wrote 91 to 100 that nobody got; the new one went on after 90."""
    listed = files(
        log(tmp_path / "m1/s/binlog.000001", f"{A}:1-60", *run(A, range(61, 101))),
        log(tmp_path / "m2/s/binlog.000007", f"{A}:1-60", *run(A, range(61, 91))),
        log(tmp_path / "m2/s/binlog.000008", f"{A}:1-90", *run(B, range(1, 5), 200), at=200),
    )
    found = chain.follow(listed, gtid.parse(f"{A}:1-70"))
    assert names(found) == ["m2/binlog.000007", "m2/binlog.000008"]
    assert str(found.end) == f"{A}:1-90,{B}:1-4"
    assert found.newest
    point = gtid.parse(f"{A}:1-95")
    beyond = chain.follow(chain.toward(listed, point), gtid.parse(f"{A}:1-70"), point)
    assert names(beyond) == ["m1/binlog.000001"]


def test_a_backup_from_a_branch_that_was_given_up_leads_nowhere_new(tmp_path: Path) -> None:
    listed = files(
        log(tmp_path / "m1/s/binlog.000001", "", *run(A, range(1, 81))),
        log(
            tmp_path / "m1/t/binlog.000002", f"{A}:1-40",
            *run(A, range(41, 51)), *run(B, range(1, 3), 300), at=300,
        ),
    )  # fmt: skip
    assert not chain.follow(listed, gtid.parse(f"{A}:1-70")).newest
    assert chain.follow(listed, gtid.parse(f"{A}:1-40")).newest
    point = chain.whole(listed, gtid.parse(f"{B}:2"))
    found = chain.follow(chain.toward(listed, point), gtid.parse(f"{A}:1-40"), point)
    assert str(found.end) == f"{A}:1-50,{B}:1-2"


def test_runs_of_several_servers_stay_in_the_order_of_the_log(tmp_path: Path) -> None:
    """The primary moved there and back within one file."""
    both = [*run(A, range(1, 4)), *run(B, range(1, 3)), *run(A, range(4, 7))]
    listed = files(log(tmp_path / "m1/s/binlog.000001", "", *both))
    assert str(chain.whole(listed, gtid.parse(f"{B}:1"))) == f"{A}:1-3,{B}:1-1"
    assert str(chain.whole(listed, gtid.parse(f"{A}:5"))) == f"{A}:1-5,{B}:1-2"


def test_a_point_of_the_second_server_comes_after_all_of_the_first(tmp_path: Path) -> None:
    listed = files(
        log(tmp_path / "m1/s/binlog.000001", "", *run(A, range(1, 9))),
        log(tmp_path / "m2/s/binlog.000004", f"{A}:1-8", *run(B, range(1, 9), 50), at=50),
    )
    start, point = gtid.parse(f"{A}:1-3"), chain.whole(listed, gtid.parse(f"{B}:2"))
    assert str(point) == f"{A}:1-8,{B}:1-2"
    assert str(chain.whole(listed, gtid.parse(f"{A}:5"))) == f"{A}:1-5"
    way = chain.follow(chain.toward(listed, point), start, point)
    assert names(way) == ["m1/binlog.000001", "m2/binlog.000004"]
    way = chain.follow(listed, start)
    assert str(chain.at_time(way, start, moment(52)).position) == f"{A}:1-8,{B}:1-1"


def test_what_was_read_is_remembered_as_it_was(tmp_path: Path) -> None:
    root, memory = tmp_path / "binlog", tmp_path / "index.json"
    log(root / "m1/s/binlog.000001", f"{A}:1-4", *run(A, range(5, 8)))
    assert archive.survey(root, memory) == archive.survey(root, memory)
