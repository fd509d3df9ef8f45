"""What a client recorded outside the database: one line per acknowledged commit.

``SEQUENCE UNIX_TIME``, and one line ``# …`` per event. A commit whose answer was lost counts as
neither acknowledged nor refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Ledger:
    """What a writer recorded: acknowledged sequences with their times, and its interruptions."""

    acknowledged: dict[int, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest_gap_seconds: float = 0.0


def read(path: Path) -> Ledger:
    """Return what the ledger at ``path`` says so far."""
    ledger = Ledger()
    previous = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            ledger.failures.append(line[2:])
            continue
        parts = line.split()
        if len(parts) != 2:
            continue  # the line being written now
        when = float(parts[1])
        ledger.acknowledged[int(parts[0])] = when
        if previous is not None:
            ledger.longest_gap_seconds = max(ledger.longest_gap_seconds, when - previous)
        previous = when
    return ledger


def wait_for_writes(path: Path, number: int, seconds: float) -> None:
    """Wait until ``number`` more commits were acknowledged; TimeoutError when they are not."""
    before = len(read(path).acknowledged) if path.exists() else 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and len(read(path).acknowledged) >= before + number:
            return
        time.sleep(0.3)
    raise TimeoutError(
        f"The writer did not get {number} commits acknowledged within {seconds:.0f} s."
    )


def lost(path: Path, there: set[int]) -> tuple[int, int, float]:
    """Return the acknowledged writes, how many ``there`` lacks, and the span lost in seconds."""
    acknowledged = read(path).acknowledged
    missing = sorted(set(acknowledged) - there)
    if not missing:
        return len(acknowledged), 0, 0.0
    span = acknowledged[missing[-1]] - acknowledged[missing[0]]
    return len(acknowledged), len(missing), span
