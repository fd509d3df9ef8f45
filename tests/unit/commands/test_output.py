"""Output: nothing secret, nothing that steers a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from dbops import runner
from dbops.commands import output
from dbops.manifest import Omission

Capture = pytest.CaptureFixture[str]


def test_secrets_and_escapes_never_show(capsys: Capture) -> None:
    secret = runner.register_secret('canary"quote')
    output.line(f"a {secret} \x1b[2J")
    output.note(secret)
    output.table(["A"], [[secret + "\x07"]], title=secret)
    output.data({"x": [secret], secret: datetime(2026, 1, 1, tzinfo=UTC)})
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "canary" not in text
        assert "\x1b" not in text
        assert "\x07" not in text
    assert json.loads(out[out.index("{") :]) == {
        "x": ["********"],
        "********": "2026-01-01T00:00:00Z",
    }


def test_markup_is_text(capsys: Capture) -> None:
    output.table(["A"], [["[red]x[/red]"]])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_what_was_left_out_is_a_table_or_nothing(capsys: Capture) -> None:
    output.omitted(())
    assert capsys.readouterr().out == ""
    output.omitted([Omission(database="air", name="public.c", kind="unlogged table", reason="why")])
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines if "air" in line] == [
        ["air", "public.c", "unlogged", "table", "why"]
    ]


def test_wide_tables_are_not_cut_in_a_pipe(capsys: Capture) -> None:
    output.table(["A", "B"], [["x" * 120, "y" * 120]])
    assert "x" * 120 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (1.25, "1.2 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_spans(count: float | None, text: str) -> None:
    assert output.seconds(count) == text


def test_progress_is_plain_lines_without_a_terminal(capsys: Capture) -> None:
    with output.progress() as tell:
        tell("one")
    assert capsys.readouterr().err == "one\n"
