"""Reading back every byte of a restic repository, and finding which snapshots damage hits.

restic names a damaged file but not what it takes along; so after the first complaint every
snapshot is read once more, to the end, and those that cannot be are the ones that are hit. What is
*not* here: which backup a snapshot belongs to; see :mod:`.catalogue`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dbops.contract import Progress
from dbops.errors import ConfigError, DbopsError
from dbops.repository.restic import Repository, altered
from dbops.runner import Command, Completed, capture

_FINE = "no errors were found"
_PACK = re.compile(r"\bpack ([0-9a-f]{64})|^Pack ID does not match, want ([0-9a-f]{64})", re.I)
_BENIGN = re.compile(
    r"\s*$|\[|pack [0-9a-f]+: not referenced in any index|"
    r"load indexes|check |read |create exclusive lock|using temporary cache|created new|"
    r"repository [0-9a-f]+ opened|no errors were found|.*returned error, retrying|"
    r"Fatal: repository contains errors|The repository (?:is|contains)|\d+ additional files|"
    r".*non-critical|This is|To (?:correct|repair)|found \d+ old cache"
)
LOOKS = 3
_COUNTED = re.compile(r"(\d+) / (\d+) (?:packs|snapshots)")
_NAMED_BY_CONTENT = ("keys", "index", "snapshots")


@dataclass(frozen=True)
class Inspection:
    """What reading everything found. ``damaged`` names files, ``unreadable`` snapshots and why."""

    files_checked: int
    damaged: tuple[str, ...]
    unreadable: dict[str, str]

    def reason(self, snapshot_id: str) -> str | None:
        """Return why a snapshot cannot be read, None when it can."""
        return next((why for i, why in self.unreadable.items() if snapshot_id.startswith(i)), None)


def inspect(repo: Repository, progress: Progress) -> Inspection:
    """Read back every stored byte; raise only when the repository cannot be opened at all."""
    done = _check(repo, progress, "--read-data")
    files, altered = _hashes(repo)
    damaged = [] if _sound(done) else _complaints(repo, done, progress)
    damaged += [problem for problem in altered if not _told(problem, damaged)]
    if not damaged:
        return Inspection(files_checked=files or _counted(done), damaged=(), unreadable={})
    return Inspection(files or _counted(done), tuple(damaged), _unreadable(repo, progress))


def _check(repo: Repository, progress: Progress, *arguments: str) -> Completed:
    # Without a lock: hours of reading must not keep a log backup from its minute.
    def report(line: str) -> None:
        match = _COUNTED.search(line)
        if match:
            progress(f"read back {match[0]}")

    repo.exists()
    return capture(repo.command("check", "--no-lock", *arguments), report)


def _sound(done: Completed) -> bool:
    return done.status == 0 and _FINE in done.stdout


def _counted(done: Completed) -> int:
    last = {match[0].split()[-1]: int(match[2]) for match in _COUNTED.finditer(done.stdout)}
    return sum(last.values())


def _complaints(repo: Repository, done: Completed, progress: Progress) -> list[str]:
    """Return what is wrong, without what only looked so because another run ended meanwhile.

    A damaged pack stays one; anything else counts once two looks in a row find it.
    """
    lines = _lines(done)
    for _ in range(LOOKS):
        packs = [line for line in lines if _PACK.search(line)]
        if packs == lines != []:
            break
        progress("look again at what was complained of")
        again = _check(repo, progress)
        if _sound(again):
            return packs
        second = _lines(again)
        kept = [line for line in lines if line in packs or line in second]
        if kept:
            return kept
        lines = second
    return lines or ["restic check failed and did not say why"]


def _lines(done: Completed) -> list[str]:
    """Return one sentence for each damaged file: restic names the same one several times."""
    found: dict[str, str] = {}
    for line in (*done.stdout.splitlines(), *done.stderr.splitlines()):
        match = _PACK.search(line)
        if _BENIGN.match(line):
            continue
        if match:
            pack = match[1] or match[2]
            found.setdefault(pack, f"pack {pack} is damaged: {line.strip()}")
        else:
            found.setdefault(line, line.strip().removeprefix("Fatal: "))
    return list(found.values())


def _hashes(repo: Repository) -> tuple[int, list[str]]:
    """Count the files and compare the small ones with their names: restic never re-reads a key."""
    if repo.folder is None:
        return 0, []
    problems = []
    for kind in _NAMED_BY_CONTENT:
        for path in sorted((repo.folder / kind).glob("*")):
            if altered(path):
                problems.append(f"{kind}/{path.name} is damaged: its content is not what it was")
    return sum(1 for _ in _files(repo.folder)), problems


def _files(folder: Path) -> Iterable[Path]:
    yield folder / "config"
    for kind in (*_NAMED_BY_CONTENT, "data/*"):
        yield from folder.glob(f"{kind}/*")


def _told(problem: str, damaged: list[str]) -> bool:
    name = problem.split()[0].partition("/")[2]
    return any(name in said for said in damaged)


def _unreadable(repo: Repository, progress: Progress) -> dict[str, str]:
    listing = repo.listing()
    found = dict.fromkeys(listing.unreadable, "it is damaged itself")
    nowhere = Command(("dd", "of=/dev/null", "bs=1M", "status=none"))
    for number, snapshot in enumerate(listing.snapshots, 1):
        progress(f"read snapshot {number} of {len(listing.snapshots)} to its end")
        try:
            repo.dump(snapshot.snapshot_id, "/", nowhere)
        except ConfigError:
            raise
        except DbopsError as error:
            found[snapshot.snapshot_id] = str(error)
    # One that was let go of meanwhile was not damaged.
    after = repo.listing()
    left = {*(s.snapshot_id for s in after.snapshots), *after.unreadable}
    return {snapshot_id: why for snapshot_id, why in found.items() if snapshot_id in left}
