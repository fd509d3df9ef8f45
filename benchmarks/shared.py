"""How many lines of the engines' columns are copies: ``python -m benchmarks.shared``.

A line counts when it is part of a run of at least six lines that stands in another engine's column,
too, to the letter but for indentation and the engine's own name. Blank lines, comments, imports and
lone punctuation are passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lab.fleet import CHECKOUT, FLEETS

RUN = 6
_PLACES = ("dbops/engines/{}", "roles/{}")
_READ = {".py", ".yml", ".j2"}
_PASSED_OVER = re.compile(r"[\W_]*|#.*|(from|import) .*|---")

Line = tuple[Path, int]


def _lines(engine: str) -> Iterator[tuple[Path, list[tuple[int, str]]]]:
    for place in _PLACES:
        for path in sorted((CHECKOUT / place.format(engine)).rglob("*")):
            if path.suffix not in _READ or path.name == "argument_specs.yml":
                continue
            numbered = [
                (number, re.sub(rf"\b(__)?{engine}\b|{engine}_", "ENGINE", line.strip()))
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            ]
            yield path, [pair for pair in numbered if not _PASSED_OVER.fullmatch(pair[1])]


def _runs(engine: str) -> dict[tuple[str, ...], set[Line]]:
    found: dict[tuple[str, ...], set[Line]] = defaultdict(set)
    for path, lines in _lines(engine):
        for at in range(len(lines) - RUN + 1):
            window = lines[at : at + RUN]
            found[tuple(text for _, text in window)] |= {(path, number) for number, _ in window}
    return found


def main() -> int:
    """Print, for each engine, its lines and how many of them stand in another column, too."""
    runs = {engine: _runs(engine) for engine in FLEETS}
    for engine, own in runs.items():
        others = {key for name, keys in runs.items() if name != engine for key in keys}
        copies = {line for key, places in own.items() if key in others for line in places}
        total = sum(len(lines) for _, lines in _lines(engine))
        print(f"{engine}: {len(copies)} of {total} lines are copies")
        for path in sorted({path for path, _ in copies}):
            number = sum(1 for where, _ in copies if where == path)
            print(f"  {number:4} {path.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
