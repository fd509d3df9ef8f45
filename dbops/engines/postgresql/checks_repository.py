"""The checks of the hosts that keep the backups and that restore them to prove them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dbops import history
from dbops.contract import Check
from dbops.engines.postgresql import catalogue, client, pgbackrest, retention, status
from dbops.engines.postgresql.checks_member import archiver, headroom, private
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import Stanza
from dbops.errors import DbopsError, Unreachable
from dbops.manifest import Kind
from dbops.runner import Command, capture
from dbops.targets import Target

LATENESS = 2.0
VERIFY_DAYS = 8.0
_SERVES: dict[Kind, tuple[str, ...]] = {
    "full": ("full",),
    "differential": ("full", "differential"),
    "incremental": ("full", "differential", "incremental"),
}


def directories(target: Target, opts: Options) -> Iterator[Check]:
    """The repository's owner and mode, and the room on its disk."""
    yield private(opts.repo_path, "repository is private", opts.os_user)
    yield headroom(opts.repo_path, "repository disk has room")


def servers(target: Target, opts: Options) -> Iterator[Check]:
    """The members as the backup account sees them."""
    hint = "look at the server, pg_hba.conf and the backup account's password file"
    try:
        with client.connect(opts, role="primary", user=opts.backup_user) as connection:
            version = connection.info.server_version // 10000
            yield Check("primary answers", True, f"PostgreSQL {version}")
            yield Check("version", str(version) == target.version, f"PostgreSQL {version}", hint)
            yield archiver(connection, target.objectives.rpo_seconds)
        yield _system_identifier(opts)
    except Unreachable as error:
        yield Check("primary answers", False, str(error), hint)
    if len(opts.hosts) > 1:
        try:
            client.connect(opts, role="standby", user=opts.backup_user).close()
            yield Check("standby answers", True, "backups are copied from it")
        except Unreachable as error:
            yield Check("standby answers", False, str(error), "run replicate")


def _system_identifier(opts: Options) -> Check:
    stanza = pgbackrest.info(opts)
    with client.connect(
        opts, role="primary", user=opts.backup_user, replication=True
    ) as connection:
        here = int(connection.execute("IDENTIFY_SYSTEM").fetchall()[0][0])
    detail = f"primary {here}, repository {stanza.system_id}"
    return Check("system identifier", here == stanza.system_id, detail, "this is another cluster")


def stanza(target: Target, opts: Options) -> Iterator[Check]:
    """What the repository holds: encryption, redundancy, ages, holes."""
    found = pgbackrest.info(opts)
    yield Check("repository answers", True, f"{opts.stanza}: {len(found.backups)} backups")
    yield Check("repository is encrypted", found.encrypted, "", "make it anew with a cipher")
    fulls = sum(1 for b in found.backups if b.kind == "full" and not b.error)
    least = opts.minimum_redundancy
    detail = f"{fulls} full, at least {least} wanted"
    yield Check("minimum redundancy", fulls >= least, detail, "dbops backup take --type full")
    for kind, seconds in opts.schedule_interval_seconds.items():
        if kind in _SERVES:
            yield _age(found, kind, seconds)
    bad = [b.label for b in found.backups if b.error]
    yield Check("no backup holds damaged pages", not bad, ", ".join(bad), "look at the disk")
    yield from _log(target, opts, found)
    yield _fingerprint(target, opts, found)


def _age(found: Stanza, kind: Kind, seconds: float) -> Check:
    name = f"{kind} backup is not late"
    stops = [b.stop for b in found.backups if b.kind in _SERVES[kind] and not b.error]
    if not stops:
        return Check(name, False, "there is none", f"dbops backup take --type {kind}")
    age = (datetime.now(UTC) - max(stops)).total_seconds()
    detail = f"{_hours(age)} old, every {_hours(seconds)} planned"
    return Check(name, age <= LATENESS * seconds, detail, "look at the timer and its last run")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _log(target: Target, opts: Options, found: Stanza) -> Iterator[Check]:
    archive = found.archive()
    if archive is None or archive.newest is None:
        yield Check("archive holds log", False, "no segment at all", "look at the archiver")
        return
    hole = retention.hole_after_oldest(opts, found, archive)
    detail = f"{hole} is missing" if hole else f"{archive.oldest} to {archive.newest}"
    hint = "points behind it cannot be reached from older backups: take a full backup now"
    yield Check("archived log has no hole", hole is None, detail, hint)
    newest = catalogue.newest_archived(opts, found)
    age = (datetime.now(UTC) - newest).total_seconds() if newest else float("inf")
    limit = max(target.objectives.rpo_seconds, 180)
    detail = f"{age:.0f} s old, at most {limit:.0f} s promised"
    yield Check("newest archived log is fresh", age <= limit, detail, "look at the archiver")


def _fingerprint(target: Target, opts: Options, found: Stanza) -> Check:
    name = "newest backup has a fingerprint"
    hint = "take one with dbops backup take"
    if not found.backups:
        return Check(name, False, "there is no backup", hint)
    label = found.backups[-1].label
    try:
        manifest = catalogue.read_manifest(target, opts, label)
    except DbopsError as error:
        return Check(name, False, str(error), hint)
    ok = manifest is not None and bool(manifest.fingerprints)
    return Check(name, ok, label if ok else f"{label} has none", hint)


def attempts(target: Target, opts: Options) -> Iterator[Check]:
    """How the last attempts on this host ended."""
    noted = status.read(target)
    for kind, last in sorted(noted["kinds"].items()):
        ok = last.get("last_result") == 1
        detail = str(last.get("last_attempt", "")) if ok else str(last.get("message", "failed"))
        yield Check(f"last {kind} backup succeeded", ok, detail, "mend it and take one by hand")
    verified = noted["verify"]
    hint = "run dbops backup verify and read what it names"
    if not verified:
        yield Check("stored files were verified", False, "never", hint)
        return
    problems = "; ".join(verified.get("problems", ()))[:200]
    age = _days(verified.get("last_success"))
    ok = verified.get("last_result") == 1 and age <= VERIFY_DAYS
    detail = problems or f"{age:.1f} days ago"
    yield Check("stored files were verified", ok, detail, hint)


def _days(moment: object) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(moment))).total_seconds() / 86400
    except (ValueError, TypeError):
        return float("inf")


def drill_host(target: Target, opts: Options) -> Iterator[Check]:
    """What a drill needs on this host, and how the last one ended."""
    scratch = opts.require_path("scratch_dir")
    yield headroom(scratch, "scratch disk has room")
    unshare = next(
        (p for p in (Path("/usr/bin/unshare"), Path("/bin/unshare")) if p.exists()), None
    )
    yield Check("isolation tool is installed", unshare is not None, str(unshare), "run provision")
    binary = opts.require_path("bin_dir") / "postgres"
    said = capture(Command((str(binary), "--version"), timeout_seconds=30)).stdout.strip()
    ok = f") {target.version}." in said or said.endswith(f") {target.version}")
    yield Check("PostgreSQL's version", ok, said, "run provision")
    drills = history.load(target)
    hint = "dbops drill run, then read its report"
    if not drills:
        yield Check("a drill was done", False, "never", hint)
        return
    newest = max(drills, key=lambda one: one.started_at)
    days = (datetime.now(UTC) - newest.finished_at).total_seconds() / 86400
    limit = LATENESS * (opts.drill_interval_seconds or 7 * 86400) / 86400
    detail = f"{days:.1f} days ago" if newest.proven else newest.reason
    yield Check("last drill proved the backup", newest.proven and days <= limit, detail, hint)
