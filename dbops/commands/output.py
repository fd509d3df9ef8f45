"""What people and programs see: tables, JSON and progress.

Results go to standard output, everything else to standard error. Every text is masked and freed of
control characters here, once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbops.contract import Progress
from dbops.manifest import Omission
from dbops.runner import mask

if TYPE_CHECKING:
    from rich.text import Text

_PIPE_WIDTH = 400


def clean(text: str) -> str:
    """Return ``text`` masked, with control characters (but newlines and tabs) shown as escapes."""
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in mask(text)
    )


def line(text: str) -> None:
    """Print one line of a result."""
    print(clean(text), flush=True)


def note(text: str) -> None:
    """Print one line that is no part of the result."""
    print(clean(text), file=sys.stderr, flush=True)


def data(value: object) -> None:
    """Print ``value`` (records, dates, paths and lists of them) as JSON, secrets masked."""
    print(as_json(value), flush=True)


def as_json(value: object) -> str:
    """Return ``value`` as indented JSON, with secrets masked in every string."""
    from pydantic_core import to_jsonable_python

    return json.dumps(_masked(to_jsonable_python(value)), indent=2, ensure_ascii=False)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {_masked(key): _masked(item) for key, item in value.items()}
    return value


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table, in colours on a terminal; a column named ``…>`` is set to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    grid = Table(
        box=box.SIMPLE_HEAD, title=clean(title) or None, title_justify="left", pad_edge=False
    )
    for column in columns:
        right = column.endswith(">")
        grid.add_column(
            column.rstrip(">"), justify="right" if right else "left", no_wrap=not terminal
        )
    for row in rows:
        grid.add_row(*(_cell(cell) for cell in row))
    console = Console(width=None if terminal else _PIPE_WIDTH, highlight=False)
    console.print(grid)


def omitted(left_out: Sequence[Omission]) -> None:
    """Print what no fingerprint tells of, if there is anything."""
    if left_out:
        table(
            ["Database", "Not compared", "What it is", "Why"],
            [[one.database, one.name, one.kind, one.reason] for one in left_out],
        )


_STYLES = {
    "OK": "green",
    "pass": "green",
    "yes": "green",
    "proven": "green",
    "FAILED": "bold red",
    "fail": "bold red",
    "DOWN": "bold red",
    "NOT PROVEN": "bold red",
    "waived": "yellow",
}


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(clean(text), style=_STYLES.get(text, ""))


@contextmanager
def progress(*, keep: bool = False) -> Iterator[Progress]:
    """Yield a function that is told what is being done now.

    On a terminal one line with a spinner shows the newest (``keep``: below all earlier ones);
    elsewhere each is a line of its own.
    """
    if not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("working") as status:

        def tell(text: str) -> None:
            if keep:
                console.print(Text(clean(text)))
            status.update(Text(clean(text).strip()))

        yield tell


def when(moment: datetime | None) -> str:
    """Return a time in UTC to the second, ``-`` for none."""
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def size(count: float) -> str:
    """Return a number of bytes with a binary unit."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if count < 1024 or unit == units[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def seconds(count: float | None) -> str:
    """Return a span of time for people, ``-`` for none."""
    if count is None:
        return "-"
    if count < 120:
        return f"{count:.1f} s"
    minutes, rest = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
