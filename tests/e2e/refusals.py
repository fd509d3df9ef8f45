"""What the tests of bad input share: hostile words, and one clear sentence as the answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import fleet
from tests.e2e.hosts import Done, Site

HOSTILE = (
    "a;touch x",
    "$(id>/tmp/x)",
    "`id`",
    "-rf",
    "--help",
    'it\'s "quoted"',
    "back\\slash",
    "%s %(user)s",
    "новый ключ",
    "../../etc/cron.d/x",
    " ",
)


def refused(done: Done, status: int, *names: str) -> None:
    """Assert that a command ended with ``status`` and one sentence that says ``names``."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("dbops: "), lines
    assert lines[0].endswith("."), lines
    assert done.status == status, (done.status, lines)
    assert "Unexpected" not in lines[0]
    for name in names:
        assert name in lines[0], lines[0]


def on_controller(site: Site, *words: str, **environment: str) -> Done:
    """Run ``dbops`` as a controller does, with more in its environment."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dbops")), *words], cwd=fleet.CHECKOUT,
        env={**site.environment(), **environment}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def last(done: Done) -> Done:
    """Leave the last line of the standard error: a play tells its progress on it, too."""
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("dbops: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0]
    return Done(done.status, done.stdout, sentences[0])
