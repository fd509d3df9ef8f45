"""pgBackRest: its commands, what it prints, and its errors in one clear sentence.

What is *not* here: when to call which command; see :mod:`.backup` and :mod:`.restore`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbops.contract import Progress
from dbops.engines.postgresql import wal
from dbops.engines.postgresql.options import Options
from dbops.errors import Busy, CommandFailed, ConfigError, DbopsError, Unreachable
from dbops.runner import Command, Completed, capture, mask

LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?")
_ERROR = re.compile(r"ERROR: \[(\d{3})\]: (.*)", re.DOTALL)
_REMOTE = re.compile(r"raised from remote-\d+ \w+ protocol on '([^']+)'")
_HINT = re.compile(r"^\s*HINT: ", re.MULTILINE)
_LOG = re.compile(r"(?:[\d-]{10} [\d:.]{12} )?P\d+\s+(INFO|WARN|ERROR|ASSERT): (.*)")
_BENIGN = re.compile(
    r"verify command (begin|end)|stanza: |<REPO:|.*appears to be in progress, skipping|"
    r"no (archives|backups) exist"
)
_COUNTED = re.compile(r"total (?:WAL|files) checked: (\d+)")
_BAD_COUNT = re.compile(r"(?:missing|checksum invalid|size invalid|other): [1-9]")


@dataclass(frozen=True)
class StoredBackup:
    """One backup as ``info`` reports it. Sizes are bytes; ``sequence`` is the archive's id."""

    label: str
    kind: str
    prior: str | None
    start: datetime
    stop: datetime
    start_lsn: str
    stop_lsn: str
    start_segment: str
    stop_segment: str
    size: int
    read: int
    stored: int
    error: bool
    tool_version: str
    database_id: int
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Archive:
    """The log kept for one generation of the cluster, such as ``15-1``."""

    archive_id: str
    database_id: int
    oldest: str | None
    newest: str | None


@dataclass(frozen=True)
class Stanza:
    """What ``info`` says of one stanza: its generations, its backups, oldest first."""

    version: str
    system_id: int
    encrypted: bool
    running: bool
    versions: dict[int, str]
    archives: tuple[Archive, ...]
    backups: tuple[StoredBackup, ...]

    def archive(self, database_id: int | None = None) -> Archive | None:
        """Return the archive of one generation, the newest when none is named."""
        found = [a for a in self.archives if database_id in (None, a.database_id)]
        return found[-1] if found else None


@dataclass(frozen=True)
class StoredSegment:
    """One WAL segment in the repository; ``archived`` is when it arrived."""

    name: str
    size: int
    archived: datetime


def command(
    options: Options, verb: str, *arguments: str, timeout_seconds: float | None = None
) -> Command:
    """Return the command ``pgbackrest <verb>`` for the target's stanza, as its account."""
    return Command(
        argv=(
            "pgbackrest",
            f"--config={options.pgbackrest_config}",
            f"--stanza={options.stanza}",
            "--no-log-timestamp",
            *_console(arguments),
            "--log-level-stderr=warn",
            verb,
            *arguments,
        ),
        title=f"pgbackrest {verb}",
        user=options.os_user if os.geteuid() == 0 else None,
        timeout_seconds=timeout_seconds,
    )


def _console(arguments: tuple[str, ...]) -> tuple[str, ...]:
    said = any(argument.startswith("--log-level-console=") for argument in arguments)
    return () if said else ("--log-level-console=off",)


def ask(
    options: Options,
    verb: str,
    *arguments: str,
    timeout_seconds: float | None = 120,
    progress: Progress | None = None,
) -> str:
    """Run one command and return what it printed; raise its error in one sentence."""
    request = command(options, verb, *arguments, timeout_seconds=timeout_seconds)
    on_line = None if progress is None else _reporter(progress)
    done = capture(request, on_line)
    if done.status != 0:
        raise failure(done, verb)
    return done.stdout


def _reporter(progress: Progress) -> Any:
    def report(line: str) -> None:
        match = _LOG.match(line)
        if match and match[1] == "INFO" and " command " not in match[2]:
            progress(match[2].strip()[:200])

    return report


def failure(done: Completed, verb: str) -> DbopsError:
    """Return the error that a failed command stands for."""
    if done.status < 0:
        return CommandFailed(
            f"pgbackrest {verb} crashed (signal {-done.status}): version 2.45 does when the "
            "repository cannot be decrypted, so compare the cipher passphrase on the repository "
            "host with the one that the stanza was created with."
        )
    match = _ERROR.search(done.stderr) or _ERROR.search(done.stdout)
    if match is None:
        lines = (done.stderr or done.stdout).strip().splitlines()
        last = mask(lines[-1]) if lines else "it wrote nothing"
        return CommandFailed(f"pgbackrest {verb} ended with status {done.status}: {last}.")
    return explain(int(match[1]), match[2], verb)


def explain(code: int, text: str, verb: str) -> DbopsError:
    """Return pgBackRest's error ``code`` as one sentence with the right exit status."""
    words = _printable(_HINT.split(text)[0])
    if code == 50:
        return Busy("Another pgBackRest run holds the lock of this stanza: wait, then run again.")
    if "unable to load info file" in text and re.search(r"CryptoError|FormatError|cipher", text):
        return ConfigError(
            "The repository cannot be decrypted: the cipher passphrase in pgBackRest's "
            "configuration is not the one that the stanza was created with."
        )
    if code == 62 or "stop file exists" in text:
        return _stopped(text, words)
    if "expected value" in text and "greeting" in text:
        return ConfigError(
            "pgBackRest has different versions on this host and on the repository host: "
            f"install the same one on both ({words})."
        )
    if "unable to load info file" in text or (code == 55 and "info" in text):
        return ConfigError(
            "The repository holds no such stanza: check repo1-path and the stanza's name, "
            "or run the backup play to create it."
        )
    if code in (49, 63, 103, 121, 124, 125) or re.search(
        r"unable to connect|Connection (refused|reset)|timeout after|unable to get address"
        r"|TLS error|HostConnect|ServiceError",
        text,
    ):
        return Unreachable(f"pgbackrest {verb}: the other host does not answer: {words}.")
    if code == 82 or "was not archived before" in text:
        return CommandFailed(
            f"pgbackrest {verb}: WAL did not arrive in the repository in time, so no backup was "
            f"kept; look at the archiver's log on the primary: {words}."
        )
    return CommandFailed(f"pgbackrest {verb} failed (error {code}): {words}.")


def _stopped(text: str, words: str) -> DbopsError:
    found = _REMOTE.search(text)
    where = found[1] if found else "this host"
    return CommandFailed(
        f"pgBackRest was stopped by hand on {where}: {words}; let it go on there with "
        "'pgbackrest start', as the account that it runs under."
    )


def _printable(text: str) -> str:
    joined = " ".join(line.strip() for line in text.strip().splitlines())
    clean = "".join(char for char in joined if char.isprintable() and char != "\ufffd")
    return mask(clean)[:300].rstrip(". ")


def info(options: Options) -> Stanza:
    """Return what the repository holds for the target's stanza."""
    return parse_info(ask(options, "info", "--output=json"), options.stanza)


def tablespaces(options: Options, label: str) -> dict[str, Path]:
    """Return where a restore of backup ``label`` puts each tablespace, by name."""
    text = ask(options, "info", "--output=json", f"--set={label}")
    try:
        answer = json.loads(text, strict=False)
        stanza = next(item for item in answer if item["name"] == options.stanza)
        found = next(item for item in stanza["backup"] if item["label"] == label)
        spaces = found.get("tablespace") or []
        return {str(one["name"]): Path(one["destination"]) for one in spaces}
    except (ValueError, StopIteration, KeyError, TypeError):
        raise CommandFailed(f"pgbackrest info did not tell what backup {label} holds.") from None


def parse_info(text: str, stanza: str) -> Stanza:
    """Return ``info --output=json`` as records; raise the error that its status stands for.

    ``info`` ends with status 0 whatever it found: only its own status codes tell.
    """
    try:
        answer = json.loads(text, strict=False)
        data: dict[str, Any] = next(item for item in answer if item["name"] == stanza)
    except (ValueError, StopIteration, KeyError, TypeError):
        raise CommandFailed("pgbackrest info did not answer with the stanza's JSON.") from None
    for repository in data.get("repo", ()):
        status = repository["status"]
        if status["code"] == 99:
            raise explain(99, str(status["message"]), "info")
        if status["code"] in (1, 3):
            raise ConfigError(
                f"The repository holds no usable stanza {stanza!r} ({status['message']}): "
                "check repo1-path and the stanza's name, or run the backup play to create it."
            )
    database = data["db"][-1] if data["db"] else {}
    return Stanza(
        version=str(database.get("version", "")),
        system_id=int(database.get("system-id", 0)),
        encrypted=data.get("cipher", "none") not in ("none", "mixed"),
        running=bool(data["status"]["lock"]["backup"]["held"]),
        versions={int(db["id"]): str(db["version"]) for db in data["db"]},
        archives=tuple(
            Archive(a["id"], int(a["database"]["id"]), a["min"], a["max"]) for a in data["archive"]
        ),
        backups=tuple(_stored_backup(item) for item in data["backup"]),
    )


_KINDS = {"full": "full", "diff": "differential", "incr": "incremental"}


def _stored_backup(item: dict[str, Any]) -> StoredBackup:
    lsn = item.get("lsn") or {"start": "0/0", "stop": "0/0"}
    return StoredBackup(
        label=item["label"],
        kind=_KINDS[item["type"]],
        prior=item["prior"],
        start=datetime.fromtimestamp(item["timestamp"]["start"], UTC),
        stop=datetime.fromtimestamp(item["timestamp"]["stop"], UTC),
        start_lsn=lsn["start"],
        stop_lsn=lsn["stop"],
        start_segment=item["archive"]["start"],
        stop_segment=item["archive"]["stop"],
        size=int(item["info"]["size"]),
        read=int(item["info"]["delta"]),
        stored=int(item["info"]["repository"].get("delta") or 0),
        error=bool(item.get("error")),
        tool_version=item["backrest"]["version"],
        database_id=int(item["database"]["id"]),
        references=tuple(item["reference"] or ()),
    )


def segments(options: Options, archive_id: str, under: str = "") -> dict[str, StoredSegment]:
    """Return the WAL segments in the repository by name; ``under`` narrows to one log directory."""
    place = f"archive/{options.stanza}/{archive_id}" + (f"/{under}" if under else "")
    listing = json.loads(ask(options, "repo-ls", "--output=json", "--recurse", place) or "{}")
    found: dict[str, StoredSegment] = {}
    for path, entry in listing.items():
        name = wal.stored_segment(path)
        if name is not None and entry["type"] == "file":
            archived = datetime.fromtimestamp(entry["time"], UTC)
            found[name] = StoredSegment(name, int(entry["size"]), archived)
    return found


def history(options: Options, archive_id: str, timeline: int) -> list[wal.Switch]:
    """Return the ancestors of ``timeline`` from the archive, none for the first one."""
    if timeline <= 1:
        return []
    path = f"archive/{options.stanza}/{archive_id}/{timeline:08X}.history"
    return wal.parse_history(ask(options, "repo-get", path))


def latest_timeline(options: Options, archive_id: str, names: Iterable[str]) -> int:
    """Return the timeline that a recovery follows by default: the newest known to the archive."""
    place = f"archive/{options.stanza}/{archive_id}"
    listing = json.loads(
        ask(options, "repo-ls", "--output=json", r"--filter=\.history$", place) or "{}"
    )
    histories = [int(path[:8], 16) for path in listing if re.match(r"[0-9A-F]{8}\.", path)]
    return max([*histories, *(wal.split_segment(name)[0] for name in names)], default=1)


def parse_verify(text: str) -> tuple[int, tuple[str, ...]]:
    """Return how many files ``verify`` read and what is wrong with which.

    ``verify`` ends with status 0 on damage, so its words decide: every line that is not known to
    be harmless is a problem, and so is a verdict other than ``ok`` without one.
    """
    problems: list[str] = []
    for line in text.splitlines():
        match = _LOG.match(line)
        if match and not _BENIGN.match(match[2]):
            problems.append(_printable(match[2]))
    statuses = re.findall(r"^\s*status: (\w+)", text, re.MULTILINE)
    bad = [line.strip() for line in text.splitlines() if _BAD_COUNT.search(line)]
    unusable = re.findall(r"^\s*(No usable \S+ file)", text, re.MULTILINE)
    invalid = re.findall(r"backup: (\S+), status: (?!valid|in-progress)(\S+?),", text)
    problems += [f"{words.strip()} for the stanza" for words in dict.fromkeys(unusable)]
    if not problems and (bad or invalid):
        problems += [f"backup {label} is {status}" for label, status in invalid] or bad
    if not problems and (not statuses or any(status != "ok" for status in statuses)):
        problems.append("pgbackrest verify gave no clear verdict")
    return sum(int(count) for count in _COUNTED.findall(text)), tuple(dict.fromkeys(problems))
