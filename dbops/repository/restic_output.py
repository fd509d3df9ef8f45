"""What restic prints: its lists, its progress, its summary, and its errors in one sentence.

restic says much with an exit status of 1 and some things with 0; only what it wrote tells. What is
*not* here: which command is run when; see :mod:`.restic`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dbops.contract import Progress
from dbops.errors import Busy, CommandFailed, ConfigError, DbopsError, Unreachable
from dbops.runner import Completed, OnLine, mask

_UNREADABLE = re.compile(r"could not load snapshot ([0-9a-f]+)|load <snapshot/([0-9a-f]+)>")
_LOCKED = "already locked"
_ABSENT = ("Is there a repository at the following location", "unable to open config file")
_WRONG_PASSPHRASE = "wrong password or no key found"
_NOISE = re.compile(
    r"\s|\[\d|returned error, retrying|created new cache|found \d+ old cache|ssh: |"
    r"(?:unable to create )?lock was created|storage ID|the `unlock` command|subprocess |"
    r"Is there a repository|/|github\.com/|runtime\.|main\.|Fatal: repository contains errors"
)
_SSH = re.compile(
    r"Permission denied|Connection (?:refused|timed out|closed|reset)|Could not resolve|"
    r"Host key verification failed|No route to host|unable to start the sftp session|"
    r"REMOTE HOST IDENTIFICATION HAS CHANGED|no matching host key"
)


@dataclass(frozen=True)
class Snapshot:
    """One snapshot as listed. ``snapshot_id`` has all 64 digits; ``time`` is when it was begun."""

    snapshot_id: str
    time: datetime
    tags: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The snapshots that can be read, oldest first, and the (short) ids of those that cannot."""

    snapshots: tuple[Snapshot, ...]
    unreadable: tuple[str, ...]


def parse_listing(done: Completed) -> Listing:
    """Return what ``restic snapshots --json`` listed; CommandFailed when that is no list."""
    try:
        found = [_snapshot(item) for item in json.loads(done.stdout) or ()]
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"restic listed no snapshots: {words(done)}") from None
    said = [_UNREADABLE.search(line) for line in done.stderr.splitlines()]
    bad = {match[1] or match[2] for match in said if match}
    return Listing(
        snapshots=tuple(sorted(found, key=lambda snapshot: snapshot.time)),
        unreadable=tuple(sorted(bad)),
    )


def _snapshot(item: dict[str, Any]) -> Snapshot:
    # restic writes up to nine digits of a second, Python reads six.
    time = re.sub(r"(\.\d{6})\d+", r"\1", item["time"])
    return Snapshot(
        snapshot_id=str(item["id"]),
        time=datetime.fromisoformat(time),
        tags=tuple(item.get("tags") or ()),
        paths=tuple(item.get("paths") or ()),
    )


def messages(text: str) -> Iterator[dict[str, Any]]:
    """Yield what ``--json`` commands wrote, line by line; what is no JSON object is left out."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def summary(done: Completed) -> dict[str, Any] | None:
    """Return the summary of a backup, None when restic wrote none."""
    found = [m for m in messages(done.stdout) if m.get("message_type") == "summary"]
    return found[-1] if found and found[-1].get("snapshot_id") else None


def reporter(progress: Progress) -> OnLine:
    """Return what turns restic's progress into words; lines of others are passed on unchanged."""

    def report(line: str) -> None:
        if not line.startswith("{"):
            if line.strip():
                progress(line[:200])
            return
        for message in messages(line):
            if message.get("message_type") == "status" and message.get("bytes_done"):
                progress(f"{message['bytes_done'] / 1e6:.0f} MB stored")

    return report


def locked(done: Completed) -> bool:
    """Tell whether restic stopped because another one keeps the repository locked."""
    return done.status != 0 and _LOCKED in done.stderr


def absent(done: Completed) -> bool:
    """Tell whether restic found no repository at all."""
    return done.status != 0 and any(text in done.stderr for text in _ABSENT)


def words(done: Completed) -> str:
    """Return the one line that says best why restic failed, secrets masked."""
    lines = [str(m["message"]) for m in messages(done.stderr) if m.get("message")]
    lines += [str(m["error"].get("message", m["error"])) for m in _errors(done)]
    lines += [line for line in done.stderr.splitlines() if not line.startswith("{")]
    said = [line.strip() for line in lines if line.strip() and not _NOISE.match(line)]
    fatal = [line for line in said if line.startswith("Fatal: ")]
    best = (fatal or said or ["it wrote nothing"])[0]
    return mask(best.removeprefix("Fatal: "))[:300]


def _errors(done: Completed) -> list[dict[str, Any]]:
    return [m for m in messages(done.stderr) if isinstance(m.get("error"), dict)]


def failure(done: Completed, what: str, location: str, password_file: object) -> DbopsError:
    """Return the error that a failed ``restic <what>`` stands for."""
    if _WRONG_PASSPHRASE in done.stderr:
        return ConfigError(
            f"The passphrase in {password_file} does not open the repository {location}: "
            "compare it with the one that the repository was made with."
        )
    if locked(done):
        return Busy(
            f"Another restic keeps the repository {location} locked: wait for it, then run again."
        )
    if absent(done):
        return ConfigError(f"There is no repository at {location}: run the backup play first.")
    ssh = next((line for line in done.stderr.splitlines() if _SSH.search(line)), None)
    if ssh is not None and location.startswith("sftp:"):
        return Unreachable(
            f"The repository {location} cannot be reached: {mask(ssh.strip())[:200]}"
        )
    if done.status < 0:
        said = words(done) if done.stderr.strip() else "it wrote nothing"
        return CommandFailed(f"restic {what} was killed (signal {-done.status}): {said}")
    return CommandFailed(f"restic {what} failed with exit status {done.status}: {words(done)}")
