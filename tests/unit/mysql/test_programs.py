"""Programs in a backup of MySQL: kept to the byte, told from a damaged stream; former dumps."""

from __future__ import annotations

import io

import pytest

from dbops.engines.mysql import former, programs, stream
from dbops.engines.mysql.programs import Program
from dbops.errors import CommandFailed, VerificationFailed

ODD = Program(
    kind="PROCEDURE",
    schema="a\nb",
    name="c`;;",
    statement=b"CREATE PROCEDURE `c`() SELECT '\xe9' --\x01 ;;\n\r\n\x00",
    sql_mode="ANSI_QUOTES",
    character_set="latin1",
)
OWN = b"CREATE TABLE t;\nDELIMITER ;;\nCREATE PROCEDURE p() %b ;;\nDELIMITER ;\nDROP TABLE x;\n"


def test_programs_are_kept_to_the_byte() -> None:
    packed = programs.pack([ODD, ODD])
    head, text = packed.split(b"\n", 1)
    assert head == programs.MARK + b"%010d" % len(text)
    assert len(head) == programs.HEAD_BYTES
    assert list(programs.unpack(text)) == [ODD, ODD]
    assert list(programs.unpack(b"")) == []


@pytest.mark.parametrize(
    "line",
    [b"x", b"{}", b"[]", b'{"statement": "!"}', b'{"kind": 1, "statement": ""}', b"\xff", b""],
)
def test_a_line_that_is_no_program_is_named(line: bytes) -> None:
    text = programs.pack([ODD]).split(b"\n", 1)[1] + line + b"\n"
    with pytest.raises(VerificationFailed, match=r"^Line 2 of the backup's programs"):
        list(programs.unpack(text))


def test_programs_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MOST_BYTES", 300)
    with pytest.raises(CommandFailed, match="which no backup takes"):
        programs.pack([ODD] * 3)


def test_programs_go_ahead_of_a_dump_and_count() -> None:
    sink, seen = io.BytesIO(), stream.Passed(ahead=stream.Ahead(b"programs\n"))
    seen.all(io.BytesIO(b"dump"), sink)
    assert (sink.getvalue(), seen.size) == (b"programs\ndump", 13)


@pytest.mark.parametrize(
    "body",
    [
        b"SELECT 1 --\x01 ;;\nDROP TABLE u",
        b"SELECT 1 delimiter ,\n(SELECT f())",
        b"SELECT 1 AS\nDELIMITER ;\nFROM t",
        b"AS $$ ;;\n $$",
    ],
)
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_a_former_dump_that_misleads_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, body: bytes, piece: int
) -> None:
    monkeypatch.setattr(former, "_PIECE_BYTES", piece)
    with pytest.raises(former.Misleading):
        former.copy(io.BytesIO(OWN % body), io.BytesIO())
    sink = io.BytesIO()
    former.copy(io.BytesIO(b"INSERT INTO t VALUES ('" + body + b"');\n"), sink)
    assert body in sink.getvalue()


@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_any_other_former_dump_is_passed_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(former, "_PIECE_BYTES", piece)
    text = OWN % b"BEGIN -- a comment\nSELECT 'a', 2 --\t3\n; END" * 3
    sink = io.BytesIO()
    former.copy(io.BytesIO(text), sink)
    assert sink.getvalue() == text
