"""The checks of the host that keeps the backups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dbops.check import lines
from dbops.contract import Catalogue, Check
from dbops.engines.mysql import archive, chain, gtid, index, members
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.members import Standing
from dbops.engines.mysql.options import Options
from dbops.errors import DbopsError
from dbops.targets import Target

BEHIND_SECONDS = 60.0


def directories(opts: Options) -> Iterator[Check]:
    """Yield whether the binary log that has come here is closed to others."""
    yield lines.private(opts.require_path("binlog_dir"), "binary log is private", opts.repo_user)


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
    if len(target.members) > 1:
        yield lines.members(target)
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


def log(target: Target, opts: Options, found: Catalogue) -> Iterator[Check]:
    """Yield whether the binary log that is kept here has a hole after the oldest backup."""
    manifests = [one.manifest for one in found.backups if one.kind != "log" and one.manifest]
    if not manifests or all(one.kind != "log" for one in found.backups):
        return
    files = archive.survey(opts.require_path("binlog_dir"), target.state_dir / index.NAME, {})
    name = "archived log has no hole"
    try:
        chain.follow(files, gtid.parse(manifests[0].stop_point))
        yield Check(name, True, f"{len(files)} files")
    except DbopsError as error:
        yield Check(name, False, str(error), "take a full backup now")
