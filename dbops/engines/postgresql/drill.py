"""The restore drill: restore a backup where nothing can be reached, and prove what came back.

What is *not* here: how a step is done (:mod:`.refill`, :mod:`.private_server`, :mod:`.proofs`), and
the verdict (:mod:`dbops.drill.verdict`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import groupby

import psycopg

from dbops.contract import DrillRequest, DrillResult, Progress
from dbops.drill.isolation import Cell
from dbops.drill.verdict import (
    Findings,
    Note,
    StepError,
    conclude,
    content_words,
    recovery_point,
    step,
)
from dbops.engines.postgresql import catalogue, pgbackrest, private_server, proofs, refill, wal
from dbops.engines.postgresql import options as settings
from dbops.engines.postgresql.client import reason as complaint
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.private_server import Scratch
from dbops.engines.postgresql.refill import Supplies
from dbops.errors import DbopsError
from dbops.manifest import Fingerprint
from dbops.targets import Target

STEPS = (
    "isolation",
    "catalogue",
    "space",
    "restore",
    "log",
    "recovery to the fingerprint",
    "content",
    "recovery to the newest",
    "heartbeat",
    "indexes",
    "pages",
    "clean-up",
)
_PORT = 5432
_LEAST_LIMIT_SECONDS = 900.0


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Restore the backup into the scratch folder, prove it and return the result.

    A drill that fails is returned with ``proven`` false and the reason. ConfigError is raised when
    this is no drill host or the backup does not exist. The caller holds the cluster's drill lock:
    the scratch folder is emptied without asking.
    """
    settings.require_part(target, "drill")
    options = settings.read(target)
    place = _scratch(options)
    _refuse_unknown(options, request)
    findings, started = Findings(), datetime.now(UTC)
    try:
        _prove(target, options, place, request, findings, progress)
    except StepError:
        pass
    finally:
        _clean(place, findings, progress)
    return conclude(target, findings, STEPS, started, datetime.now(UTC))


def _refuse_unknown(options: Options, request: DrillRequest) -> None:
    """Raise ConfigError for a backup that does not exist: a slip of the pen is no failed drill."""
    if request.backup_id is None:
        return
    try:
        stanza = pgbackrest.info(options)
    except DbopsError:
        return
    catalogue.choose(stanza, request.backup_id)


def _scratch(options: Options) -> Scratch:
    hosts = tuple((address, options.port) for address in options.hosts.values())
    root = options.require_path("scratch_dir")
    return Scratch(
        root=root,
        bin_dir=options.require_path("bin_dir"),
        user=options.os_user,
        port=_PORT,
        cell=Cell(options.drill_user, hosts, root),
        reader=options.backup_user,
    )


def _prove(
    target: Target,
    options: Options,
    place: Scratch,
    request: DrillRequest,
    findings: Findings,
    progress: Progress,
) -> None:
    limit = max(_LEAST_LIMIT_SECONDS, 4 * target.objectives.rto_seconds)
    with _step(findings, "isolation", progress) as note:
        note.detail = place.cell.prove()
    with _step(findings, "catalogue", progress) as note:
        supply = _choose(target, options, request, findings)
        note.detail = (
            f"backup {findings.backup_id}, {len(supply.log.segments)} WAL segments up to "
            f"{supply.log.segments[-1]} on timeline {supply.log.timeline}"
        )
    with _step(findings, "space", progress) as note:
        private_server.check_tools(place, options.amcheck)
        private_server.check_version(place, supply.manifest.version)
        private_server.create(place)
        note.detail = refill.check_space(place, supply)
    with _step(findings, "restore", progress, counts=True) as note:
        findings.bytes_restored = refill.restore(options, place, supply, progress)
        note.detail = f"{findings.bytes_restored:,} bytes"
    with _step(findings, "log", progress, counts=True) as note:
        refill.fetch(options, place, supply.log, progress)
        private_server.hand_over(place)
        note.detail = f"{len(supply.log.segments)} segments without a gap"
    _compare(place, supply, findings, limit, progress)
    _newest(place, supply, findings, limit, progress)
    if options.amcheck:
        with _step(findings, "indexes", progress) as note:
            note.detail = proofs.check_indexes(place)
    else:
        with _step(findings, "indexes", progress) as note:
            note.detail = "not checked: switched off by the option amcheck"
    with _step(findings, "pages", progress) as note:
        private_server.stop(place)
        note.detail = proofs.check_pages(place)


def _choose(
    target: Target, options: Options, request: DrillRequest, findings: Findings
) -> Supplies:
    findings.backup_id = request.backup_id or ""
    stored = refill.choose(options, request.backup_id)
    findings.backup_id = stored.label
    return refill.survey(target, options, stored)


def _compare(
    place: Scratch, supply: Supplies, findings: Findings, limit: float, progress: Progress
) -> None:
    """Recover to each fingerprint's point in turn and compare the content there."""
    fingerprints = sorted(supply.manifest.fingerprints, key=lambda one: wal.parse_lsn(one.point))
    whole = len(fingerprints) == 1
    for point, group in groupby(fingerprints, key=lambda one: one.point):
        expected = list(group)
        with _step(findings, "recovery to the fingerprint", progress, counts=True) as note:
            private_server.configure(place, _stop_at(point, expected[0], supply))
            proofs.recover_to(place, point, limit)
            note.detail = f"exactly at {point}"
        with _step(findings, "content", progress) as note:
            for one in expected:
                tables, differences = proofs.content(place, one, whole)
                findings.tables += tables
                findings.differences += differences
                if differences:
                    note.ok = False
            note.detail = content_words(findings)
        private_server.stop(place)


def _stop_at(point: str, fingerprint: Fingerprint, supply: Supplies) -> dict[str, str]:
    timeline, _ = wal.split_segment(supply.stored.start_segment)
    return {
        "recovery_target_lsn": point,
        "recovery_target_inclusive": "off",
        "recovery_target_action": "pause",
        "recovery_target_timeline": str(fingerprint.timeline or timeline),
    }


def _newest(
    place: Scratch, supply: Supplies, findings: Findings, limit: float, progress: Progress
) -> None:
    """Recover everything archived, open the server and read the newest heartbeat."""
    with _step(findings, "recovery to the newest", progress, counts=True) as note:
        private_server.configure(place, {"recovery_target_timeline": str(supply.log.timeline)})
        replayed = proofs.recover_newest(place, supply.log.segments[-1], limit)
        findings.answered = True
        note.detail = f"up to {replayed}, and open for writing"
    with _step(findings, "heartbeat", progress) as note:
        beat = proofs.newest_beat(place)
        findings.rpo_seconds = recovery_point(beat, supply.log.listed_at)
        note.detail = f"newest beat at {beat.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _step(
    findings: Findings, name: str, progress: Progress, counts: bool = False
) -> AbstractContextManager[Note]:
    return step(findings, name, progress, counts, _explain)


def _explain(error: Exception) -> str | None:
    if isinstance(error, psycopg.Error):
        return f"The restored server says: {complaint(error)}."
    return None


def _clean(place: Scratch, findings: Findings, progress: Progress) -> None:
    try:
        with _step(findings, "clean-up", progress) as note:
            private_server.remove(place)
            note.detail = f"{place.root} is gone"
    except StepError:
        pass
