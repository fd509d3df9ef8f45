"""The checks of the hosts that keep the backups and that restore them to prove them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.mysql import (
    archive,
    chain,
    flavor,
    gtid,
    index,
    members,
    options,
    private_server,
)
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.members import Standing
from dbops.engines.mysql.options import Options
from dbops.errors import DbopsError
from dbops.repository import catalogue as stored
from dbops.repository.restic import Repository
from dbops.targets import Target

BEHIND_SECONDS = 60.0


def directories(target: Target, opts: Options) -> Iterator[Check]:
    """The repository's owner and mode, and the room on its disk."""
    yield lines.private(opts.repo_path, "repository is private", opts.repo_user)
    yield lines.private(opts.require_path("binlog_dir"), "binary log is private", opts.repo_user)
    yield lines.headroom(opts.repo_path, "repository disk has room")


def servers(target: Target, opts: Options) -> Iterator[Check]:
    """The members as the backup account sees them, and how far their log has come here."""
    hint = "look at the server, and at the option file of the backup account"
    found = members.survey(opts)
    for name, one in found.items():
        if isinstance(one, Standing):
            yield Check(f"{name} answers", True, one.role)
        else:
            yield Check(f"{name} answers", False, one, hint)
    known = {name: one for name, one in found.items() if isinstance(one, Standing)}
    primaries = [name for name, one in known.items() if one.role == "primary"]
    detail = ", ".join(primaries) or "none"
    yield Check("there is one primary", len(primaries) == 1, detail, "run replicate")
    yield from _archived(target, opts, known)


def _archived(target: Target, opts: Options, known: dict[str, Standing]) -> Iterator[Check]:
    damaged: dict[str, str] = {}
    root, memory = opts.require_path("binlog_dir"), target.state_dir / index.NAME
    files = archive.survey(root, memory, damaged)
    for name, one in known.items():
        mine = [file for file in files if file.member == name]
        newest = Position()
        for file in mine:
            newest = newest.joined(file.summary.after)
        last = max((file.summary.last_at for file in mine), default=None)
        age = (datetime.now(UTC) - last).total_seconds() if last else float("inf")
        ok = newest.holds(gtid.parse(one.position)) or age <= BEHIND_SECONDS
        ok = ok and name not in damaged
        detail = damaged.get(name, f"{newest or 'nothing'} of {one.position}")
        hint = f"look at the unit dbops-binlog-{target.cluster}@{name}"
        yield Check(f"binary log of {name} arrives", ok, detail, hint)


def repository(target: Target, opts: Options) -> Iterator[Check]:
    """The way to the repository, and that it opens."""
    found = stored.catalogue(stored.open_repository(target, opts))
    backups = [one for one in found.backups if one.kind != "log"]
    yield Check("repository answers", True, f"{len(backups)} backups")


def backups(target: Target, opts: Options) -> Iterator[Check]:
    """What the repository holds: redundancy, ages, holes."""
    repo = stored.open_repository(target, opts)
    found = stored.catalogue(repo)
    yield Check("repository answers", True, f"{len(found.backups)} entries, encrypted")
    yield lines.redundancy(found.backups, opts.minimum_redundancy)
    for kind, seconds in opts.schedule_interval_seconds.items():
        if kind != "log":
            yield lines.age(found.backups, kind, seconds)
    yield from _log(target, opts, repo)
    yield lines.fingerprint(found.backups)


def _log(target: Target, opts: Options, repo: Repository) -> Iterator[Check]:
    entries = stored.entries(repo)
    logs = [one.manifest for one in entries if one.manifest.kind == "log"]
    fulls = [one.manifest for one in entries if one.manifest.kind != "log"]
    hint = (
        f"look at dbops-backup-{target.cluster}@log and the units dbops-binlog-{target.cluster}@*"
    )
    if not logs:
        yield Check("archive holds log", False, "no log backup at all", hint)
        return
    root, memory = opts.require_path("binlog_dir"), target.state_dir / index.NAME
    files = archive.survey(root, memory, {})
    if fulls:
        try:
            chain.follow(files, gtid.parse(fulls[0].stop_point))
            yield Check("archived log has no hole", True, f"{len(files)} files")
        except DbopsError as error:
            yield Check("archived log has no hole", False, str(error), "take a full backup now")
    promised = target.objectives.rpo_seconds
    yield lines.log_age("newest archived log is fresh", logs[-1].stop, promised, hint)


def attempts(target: Target, opts: Options) -> Iterator[Check]:
    """How the last attempts on this host ended."""
    yield from lines.attempts(target)


def drill_host(target: Target, opts: Options) -> Iterator[Check]:
    """What a drill needs on this host, and how the last one ended."""
    options.require_part(target, "drill")
    here = private_server.version(flavor.named(opts.flavor))
    detail = f"{here}, the target says {target.version}"
    yield Check("the server's version", here == target.version, detail, "run provision")
    place = opts.require_path("scratch_dir")
    yield from lines.drills(target, place, opts.drill_interval_seconds)
