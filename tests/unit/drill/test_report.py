"""The drill report: complete in itself, and nothing in it is taken for markup."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dbops.contract import DrillResult, DrillStep, DrillTable
from dbops.drill import report
from dbops.manifest import Difference, Omission
from dbops.targets import Objectives, Target

pytestmark = pytest.mark.unit

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--{{ 7*7 }}{% raw %}",
    "a;touch /tmp/x",
    "$(id)",
    "../../etc/cron.d/x",
    "naïve\nnewline\u202e",
)
BEGAN = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
TARGET = Target(
    schema_version=1,
    engine="postgresql",
    cluster="flights",
    part="drill",
    member="drill1",
    version="15<b>",
    members=("pg1",),
    objectives=Objectives(rpo_seconds=60, rto_seconds=600),
    state_dir=Path("/nowhere"),
    options={},
)


def make_result(**changes: object) -> DrillResult:
    plain = DrillResult(
        engine="postgresql",
        cluster="flights",
        backup_id="20260301-010000F",
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(minutes=3),
        proven=True,
        reason="",
        rpo_seconds=12.5,
        rto_seconds=42.0,
        rpo_objective_seconds=60,
        rto_objective_seconds=600,
        bytes_restored=5 * 1024**3,
        steps=(DrillStep("isolation", True, 0.1, "alone"),),
        tables=(DrillTable("air", "public.flights", 336776, 336776, True),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


class Page(HTMLParser):
    """Collects what a browser would: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    bad = make_result(
        proven=False,
        reason=f"reason {name}",
        backup_id=name,
        steps=(DrillStep(name, False, 1, name),),
        tables=(DrillTable(name, name, 1, None, False),),
        differences=(
            Difference(database=name, table=name, what="rows", expected=name, found=name),
        ),
        omitted=(Omission(database=name, name=name, kind=name, reason=name),),
    )

    page = Page(report.render(TARGET, [bad, bad]))

    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert page.text.count(name) >= 12


def test_the_page_needs_nothing_else() -> None:
    text = report.render(TARGET, [make_result()])

    assert not re.search(r"https?://|@import|url\(|<script|<link rel=\"stylesheet", text)
    sources = [v for k, v in Page(text).attributes if k in ("src", "href", "xlink:href", "action")]
    assert all((value or "").startswith("data:") for value in sources)
    assert "prefers-color-scheme: dark" in text
    assert "default-src 'none'" in text


def test_a_proof_says_so_with_its_numbers() -> None:
    page = Page(report.render(TARGET, [make_result()]))

    for words in ("✓ Proven", "42 s", "12 s", "336,776", "5.0 GiB", "1 of 1", "objective 10 min"):
        assert words in page.text
    assert "✗" not in page.text


def test_what_was_not_compared_is_said_beside_what_was() -> None:
    cache = Omission(
        database="air", name="public.cache", kind="unlogged table", reason="not logged"
    )
    assert "Not compared" not in Page(report.render(TARGET, [make_result()])).text
    page = Page(report.render(TARGET, [make_result(omitted=(cache,))]))
    assert "✓ Proven" in page.text
    for words in ("Not compared", "public.cache", "unlogged table", "not logged"):
        assert words in page.text


def test_a_failure_says_why_and_is_in_the_chart() -> None:
    failed = make_result(
        proven=False,
        reason="WAL gap: segment 000000010000000000000005 is missing.",
        rpo_seconds=None,
        rto_seconds=None,
        started_at=BEGAN + timedelta(days=1),
        tables=(),
        steps=(),
    )

    page = Page(report.render(TARGET, [make_result(), failed]))

    assert "✗ Not proven" in page.text
    assert page.text.count("WAL gap") == 2
    assert "not measured" in page.text
    assert page.tags.count("circle") == 2
    assert page.tags.count("svg") == 2


def test_no_drill_yet_is_a_page_and_not_an_error() -> None:
    assert "No drill has been done yet" in Page(report.render(TARGET, [])).text


def test_objectives_and_values_stay_inside_the_chart() -> None:
    results = [
        make_result(started_at=BEGAN + timedelta(hours=n), rto_seconds=value)
        for n, value in enumerate((0.0, 5.0, 9000.0, None, 30.0, -3.0))
    ]

    chart = report.charts(results)[0]

    for mark in chart.marks:
        assert chart.left <= mark.x <= chart.width
        assert mark.y is None or 0 <= mark.y <= chart.base
    assert 0 <= chart.objective_y <= chart.base
    assert len(chart.segments) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not measured"),
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (61, "61 s"),
        (600, "10 min"),
        (3 * 3600 + 300, "3 h 05 min"),
        (86400 * 3, "3.0 d"),
        (-5, "-5.0 s"),
    ],
)
def test_durations_for_people(value: float | None, words: str) -> None:
    assert report.seconds(value) == words


def test_history_is_bounded() -> None:
    many = [make_result(started_at=BEGAN + timedelta(days=n)) for n in range(200)]

    page = Page(report.render(TARGET, many))

    assert page.tags.count("circle") == 2 * report.HISTORY_SHOWN
