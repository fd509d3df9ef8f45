"""Checks that every engine's hosts share: folders, disks, certificates, past attempts and drills.

A line that cannot be determined is a failed one. What is *not* here: what a server says of itself.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbops import status
from dbops.contract import Backup, Catalogue, Check
from dbops.drill import history
from dbops.drill.entering import BWRAP
from dbops.errors import DbopsError
from dbops.manifest import Kind
from dbops.runner import Command, capture
from dbops.targets import Target

Group = tuple[str, Callable[[], Iterable[Check]]]
Explain = Callable[[Exception], str | None]
SMALLEST_FREE_SHARE = 0.1
CERTIFICATE_DAYS = 14
LATENESS = 2.0
VERIFY_DAYS = 8.0
LEAST_LOG_SECONDS = 180.0
"""Log is stored about once a minute: a stricter objective would fail between two runs."""
_SERVES: dict[Kind, tuple[Kind, ...]] = {
    "full": ("full",),
    "differential": ("full", "differential"),
    "incremental": ("full", "differential", "incremental"),
    "log": ("log",),
}


def run(groups: Iterable[Group], explain: Explain) -> Iterator[Check]:
    """Yield the checks of each group; one that cannot be made is a failed check named for it.

    ``explain`` says what the driver's own errors mean, None for any other.
    """
    for name, group in groups:
        try:
            yield from group()
        except Exception as error:
            words = str(error) if isinstance(error, DbopsError) else explain(error)
            if words is None:
                raise
            yield Check(f"{name} can be checked", False, words, "mend this and check again")


def version(here: str, target: Target, hint: str) -> Check:
    """Check that a version is of the release that the target names."""
    ok = here == target.version or here.startswith(f"{target.version}.")
    return Check("version", ok, f"{here}, the target says {target.version}", hint)


def private(path: Path, name: str, owner: str) -> Check:
    """Check that ``path`` belongs to ``owner`` and is closed to everybody outside its group."""
    try:
        found = path.stat()
        holder = pwd.getpwuid(found.st_uid).pw_name
    except (OSError, KeyError) as error:
        return Check(name, False, f"{path}: {error}", "run provision")
    mode = stat.S_IMODE(found.st_mode)
    ok = holder == owner and not mode & (stat.S_IRWXO | stat.S_IWGRP)
    hint = f"make it {owner}'s with mode 0750 or 0700"
    return Check(name, ok, f"{path} belongs to {holder}, mode {mode:04o}", hint)


def headroom(path: Path, name: str) -> Check:
    """Check that a tenth of the disk that holds ``path`` is free."""
    place = next((p for p in (path, *path.parents) if p.is_dir() and os.access(p, os.X_OK)), path)
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        return Check(name, False, f"{place}: {error.strerror}", "run provision")
    share = usage.free / usage.total
    detail = f"{usage.free / 2**30:.1f} GiB ({share:.0%}) free on {place}"
    return Check(name, share >= SMALLEST_FREE_SHARE, detail, "free some space or enlarge the disk")


def certificate(path: Path) -> Check:
    """Check the last day of the certificate in a file."""
    name = "TLS certificate is not about to expire"
    done = capture(
        Command(("openssl", "x509", "-noout", "-enddate", "-in", str(path)), timeout_seconds=30)
    )
    try:
        text = done.stdout.strip().removeprefix("notAfter=")
        end = datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
    except ValueError:
        return Check(name, False, f"{path} cannot be read as a certificate", "run secure")
    days = (end - datetime.now(UTC)) / timedelta(days=1)
    detail = f"{path} ends on {end:%Y-%m-%d}, in {days:.0f} days"
    return Check(name, days > CERTIFICATE_DAYS, detail, "run playbooks/rotate.yml")


def age(backups: Sequence[Backup], kind: Kind, interval_seconds: float) -> Check:
    """Check that the newest backup that serves as ``kind`` is no older than twice its interval."""
    name = f"{kind} backup is not late"
    stops = [b.stop for b in backups if b.kind in _SERVES[kind] and not b.error]
    if not stops:
        return Check(name, False, "there is none", f"dbops backup take --type {kind}")
    old = (datetime.now(UTC) - max(stops)).total_seconds()
    detail = f"{_hours(old)} old, every {_hours(interval_seconds)} planned"
    return Check(
        name, old <= LATENESS * interval_seconds, detail, "look at the timer and its last run"
    )


def log_limit(rpo_seconds: float) -> float:
    """Return how old the newest stored log may be: the objective, but never under the least."""
    return max(rpo_seconds, LEAST_LOG_SECONDS)


def log_age(newest: datetime | None, rpo_seconds: float, hint: str) -> Check:
    """Check that the newest stored log, None for none at all, is no older than promised."""
    name = "newest stored log is fresh"
    if newest is None:
        return Check(name, False, "there is none", hint)
    old, limit = (datetime.now(UTC) - newest).total_seconds(), log_limit(rpo_seconds)
    detail = f"{old:.0f} s old, at most {limit:.0f} s promised"
    return Check(name, old <= limit, detail, hint)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def counted(found: Catalogue) -> str:
    """Return in words how much a repository holds."""
    whole = sum(1 for backup in found.backups if backup.kind != "log")
    return f"{whole} backups"


def sound(backups: Sequence[Backup]) -> Iterator[Check]:
    """Check that no backup lies open, and that none is known to be damaged."""
    bare = [backup.backup_id for backup in backups if not backup.encrypted]
    yield Check("repository is encrypted", not bare, ", ".join(bare), "make it anew with a cipher")
    bad = [backup.backup_id for backup in backups if backup.error]
    yield Check("no backup holds damaged pages", not bad, ", ".join(bad), "look at the disk")


def redundancy(backups: Sequence[Backup], least: int) -> Check:
    """Check that there are at least ``least`` full backups."""
    fulls = sum(1 for backup in backups if backup.kind == "full" and not backup.error)
    detail = f"{fulls} full, at least {least} wanted"
    return Check("minimum redundancy", fulls >= least, detail, "dbops backup take --type full")


def plausible(found: Catalogue) -> Check:
    """Check that the newest full backup is no less than half of what was stored before it."""
    name = "newest full backup is as large as before"
    hint = "find the rest of the data, or take one with --accept-smaller if it was removed"
    return Check(name, found.doubt is None, found.doubt or "", hint)


def fingerprint(backups: Sequence[Backup]) -> Check:
    """Check that the newest backup that is no log has a fingerprint, so that a drill can prove."""
    name = "newest backup has a fingerprint"
    hint = "take one with dbops backup take"
    whole = [backup for backup in backups if backup.kind != "log"]
    if not whole:
        return Check(name, False, "there is no backup", hint)
    newest = whole[-1]
    ok = newest.manifest is not None and bool(newest.manifest.fingerprints)
    label = newest.backup_id
    return Check(name, ok, label if ok else f"{label} has no content fingerprint", hint)


def attempts(target: Target) -> Iterator[Check]:
    """Check how the last attempts on this host ended, and that stored files were read back."""
    noted = status.read(target)
    for kind, last in sorted(noted["kinds"].items()):
        if "last_result" not in last:
            continue  # the first one is running
        ok = last.get("last_result") == 1
        detail = str(last.get("last_attempt", "")) if ok else str(last.get("message", "failed"))
        yield Check(f"last {kind} backup succeeded", ok, detail, "mend it and take one by hand")
    verified = noted["verify"]
    hint = "run dbops backup verify and read what it names"
    if not verified:
        yield Check("stored files were verified", False, "never", hint)
        return
    problems = "; ".join(verified.get("problems", ()))[:200]
    days = _days(verified.get("last_success"))
    ok = verified.get("last_result") == 1 and days <= VERIFY_DAYS
    yield Check("stored files were verified", ok, problems or f"{days:.1f} days ago", hint)


def members(target: Target) -> Check:
    """Check how the last comparison of the replicas with the primary ended, if there was one."""
    name, last = "members have the primary's content", status.read(target)["members"]
    hint = "run dbops fingerprint --members; rebuild the member that differs from the right one"
    if not last:
        return Check(name, True, "not compared yet")
    days = _days(last.get("last_success"))
    ok = last.get("last_result") == 1 and days <= VERIFY_DAYS
    detail = str(last.get("message") or f"{days:.1f} days ago")
    return Check(name, ok, detail, hint)


def _days(moment: object) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(moment))).total_seconds() / 86400
    except (ValueError, TypeError):
        return float("inf")


def drills(target: Target, scratch_dir: Path, interval_seconds: float | None) -> Iterator[Check]:
    """Check what a drill needs on this host, and how the last one ended."""
    yield headroom(scratch_dir, "scratch disk has room")
    yield Check("isolation tool is installed", Path(BWRAP).exists(), BWRAP, "run provision")
    done = history.load(target)
    hint = "dbops drill run, then read its report"
    if not done:
        yield Check("a drill was done", False, "never", hint)
        return
    newest = max(done, key=lambda one: one.started_at)
    days = (datetime.now(UTC) - newest.finished_at).total_seconds() / 86400
    limit = LATENESS * (interval_seconds or 7 * 86400) / 86400
    detail = f"{days:.1f} days ago" if newest.proven else newest.reason
    yield Check("last drill proved the backup", newest.proven and days <= limit, detail, hint)
