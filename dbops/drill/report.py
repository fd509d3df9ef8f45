"""The drill report: one HTML page that needs nothing else, for people and for auditors.

It holds no script and fetches nothing. All values are escaped, so a hostile table name is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from dbops import __version__
from dbops.contract import DrillResult
from dbops.targets import Target

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 150, 56, 12, 22
HISTORY_SHOWN = 60


@dataclass(frozen=True)
class Mark:
    """One drill in the chart; ``y`` is None when nothing was measured."""

    x: float
    y: float | None
    proven: bool
    title: str


@dataclass(frozen=True)
class Chart:
    """One small chart in SVG coordinates: measured values over time against the objective."""

    title: str
    width: int
    height: int
    left: int
    base: int
    marks: tuple[Mark, ...]
    segments: tuple[str, ...]
    objective_y: float
    objective: str
    ticks: tuple[tuple[float, str], ...]
    first: str
    last: str


def render(target: Target, results: Sequence[DrillResult]) -> str:
    """Return the page for the newest of ``results`` (oldest first), with all of them as history."""
    # Here, for every command would wait for it and one in a hundred makes a page.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters |= {"seconds": seconds, "size": size, "when": when, "count": count}
    template = files("dbops.drill").joinpath("report.html.j2").read_text(encoding="utf-8")
    shown = list(results)[-HISTORY_SHOWN:]
    return environment.from_string(template).render(
        target=target,
        result=shown[-1] if shown else None,
        history=shown[::-1],
        charts=charts(shown) if shown else [],
        version=__version__,
    )


def charts(results: Sequence[DrillResult]) -> list[Chart]:
    """Return the chart of recovery times and that of recovery points; ``results`` is not empty."""
    newest = results[-1]
    return [
        _chart(
            "Recovery time",
            results,
            [one.rto_seconds for one in results],
            newest.rto_objective_seconds,
        ),
        _chart(
            "Recovery point",
            results,
            [one.rpo_seconds for one in results],
            newest.rpo_objective_seconds,
        ),
    ]


def _chart(
    title: str,
    results: Sequence[DrillResult],
    values: Sequence[float | None],
    objective: float,
) -> Chart:
    top = max([objective * 1.15, *(value * 1.05 for value in values if value is not None)])
    base = _HEIGHT - _BOTTOM
    times = [one.started_at.timestamp() for one in results]
    first, last = min(times), max(times)
    inner = _WIDTH - _LEFT - 12

    def place_x(time: float) -> float:
        share = (time - first) / (last - first) if last > first else 0.5
        return round(_LEFT + 6 + share * (inner - 12), 1)

    def place_y(value: float) -> float:
        return round(base - (base - _TOP) * max(0.0, value) / top, 1)

    marks = tuple(
        Mark(
            place_x(time),
            None if value is None else place_y(value),
            one.proven,
            f"{when(one.started_at)}: {seconds(value)}, "
            + ("proven" if one.proven else "not proven"),
        )
        for one, time, value in zip(results, times, values, strict=True)
    )
    return Chart(
        title=title,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        base=base,
        marks=marks,
        segments=_segments(marks),
        objective_y=place_y(objective),
        objective=seconds(objective),
        ticks=tuple((place_y(top * share), seconds(top * share)) for share in (0, 0.5, 1)),
        first=when(results[0].started_at)[:10],
        last=when(results[-1].started_at)[:10],
    )


def _segments(marks: Sequence[Mark]) -> tuple[str, ...]:
    """Return the runs of neighbouring measured drills as SVG point lists; a gap ends a run."""
    runs: list[list[str]] = [[]]
    for mark in marks:
        if mark.y is None:
            runs.append([])
        else:
            runs[-1].append(f"{mark.x},{mark.y}")
    return tuple(" ".join(run) for run in runs if len(run) > 1)


def seconds(value: float | None) -> str:
    """Return a duration for people, like ``4.2 s`` or ``1 h 05 min``; None is ``not measured``."""
    if value is None:
        return "not measured"
    if value < 0:
        return f"-{seconds(-value)}"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 1440:.1f} d"


def size(value: float) -> str:
    """Return bytes for people, in powers of 1,024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def when(value: datetime) -> str:
    """Return a time in UTC to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def count(value: int | None) -> str:
    """Return a whole number with commas; None is ``none``."""
    return "none" if value is None else f"{value:,}"
