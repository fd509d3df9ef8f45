"""The restore drill: restore a backup where nothing can be reached, and prove what came back.

The base is loaded by itself first and its content compared with the fingerprint that was made of
exactly that file; then base and log together give the newest data. What is *not* here: the verdict
(:mod:`dbops.drill.verdict`) and how files are fetched and checked (:mod:`.refill`).
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dbops import runner
from dbops.contract import DrillRequest, DrillResult, Progress
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.drill.verdict import (
    Findings,
    StepError,
    compared,
    conclude,
    content_words,
    recovery_point,
    step,
)
from dbops.engines.redis import (
    aof,
    catalogue,
    content,
    destination,
    fingerprint,
    heartbeat,
    position,
    private_server,
    rdb,
    refill,
)
from dbops.engines.redis import options as settings
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.errors import ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Fingerprint, compare
from dbops.options import require_part
from dbops.repository import catalogue as stored
from dbops.repository import routes
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.targets import Target

STEPS = (
    "isolation",
    "catalogue",
    "space",
    "restore",
    "files",
    "content",
    "recovery to the newest",
    "heartbeat",
    "clean-up",
)
_LEAST_LIMIT_SECONDS = 900.0
_TRIAL_KEY = "dbops:drill"
_FETCHER = "root"


@dataclass(frozen=True)
class _Ground:
    """Where a drill works, and with what."""

    root: Path
    cell: Cell
    options: Options
    repo: Repository
    limit_seconds: float

    @property
    def place(self) -> Place:
        """The place of the private server."""
        return Place(
            data=self.root / "data",
            run=self.root / "run",
            user=self.options.drill_user,
            options=self.options,
            cell=self.cell,
        )

    @property
    def alone(self) -> Path:
        """The data directory in which the base stands by itself."""
        return self.root / "alone"

    def end(self) -> None:
        """End the servers that a killed drill left running."""
        accounts = {self.options.drill_user, self.options.os_user}
        scratch.end((self.place.data, self.alone), accounts)

    def inside(self, command: runner.Command) -> runner.Completed:
        """Run a tool on the restored files, cut off as the server is."""
        limit = command.timeout_seconds
        return self.cell.capture(command.argv, title=command.title, timeout_seconds=limit)


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Restore the backup into the scratch folder, prove it and return the result.

    A drill that fails is returned with ``proven`` false and the reason. ConfigError is raised when
    this is no drill host or the backup does not exist. The caller holds the cluster's drill lock:
    the scratch folder is emptied without asking.
    """
    require_part(target, "drill")
    opts = settings.read(target)
    ground = _ground(target, opts)
    _refuse_unknown(ground.repo, request)
    findings, started = Findings(), datetime.now(UTC)
    try:
        _prove(ground, request, findings, progress)
    except StepError:
        pass
    finally:
        _clean(ground, findings, progress)
    return conclude(target, findings, STEPS, started, datetime.now(UTC))


def _ground(target: Target, opts: Options) -> _Ground:
    hosts = tuple((address, opts.port) for address in opts.hosts.values())
    return _Ground(
        root=opts.require_path("scratch_dir"),
        cell=Cell(opts.drill_user, hosts, opts.require_path("scratch_dir")),
        options=opts,
        repo=catalogue.open_(target, opts),
        limit_seconds=max(_LEAST_LIMIT_SECONDS, 4 * target.objectives.rto_seconds),
    )


def _refuse_unknown(repo: Repository, request: DrillRequest) -> None:
    """Raise ConfigError for a backup that does not exist: a slip of the pen is no failed drill."""
    if request.backup_id is None:
        return
    try:
        found = stored.entries(repo)
    except DbopsError:
        return
    routes.choose(found, request.backup_id)


def _prove(ground: _Ground, request: DrillRequest, findings: Findings, progress: Progress) -> None:
    with step(findings, "isolation", progress) as note:
        note.detail = ground.cell.prove()
    with step(findings, "catalogue", progress) as note:
        way, listed_at = _choose(ground, request, findings)
        note.detail = f"backup {findings.backup_id}, {_log_words(way)}"
    with step(findings, "space", progress) as note:
        _fits(ground, way)
        folders = (ground.place.data, ground.alone, ground.place.run)
        scratch.create(ground.root, _FETCHER, folders, ground.end)
        note.detail = _space(ground.root, way)
    with step(findings, "restore", progress, counts=True) as note:
        findings.bytes_restored = refill.fetch(ground.repo, way, ground.place.data, None, progress)
        note.detail = f"{findings.bytes_restored:,} bytes"
    with step(findings, "files", progress, counts=True) as note:
        refill.same_base(ground.place.data, way.full)
        _lay_base_alone(ground)
        scratch.give((ground.place.data, ground.alone, ground.place.run), ground.cell.user)
        note.detail = refill.check(ground.options, ground.place.data, ground.inside)
    with step(findings, "content", progress) as note:
        _compare(ground, way.full, findings, progress)
        note.ok = not findings.differences
        note.detail = content_words(findings)
    _newest(ground, way, listed_at, findings, progress)


def _choose(
    ground: _Ground, request: DrillRequest, findings: Findings
) -> tuple[Destination, datetime]:
    """Return what to restore, and the time at which its newest data are wanted.

    That is now for the newest backup, and the end of its own log for a former one.
    """
    findings.backup_id = request.backup_id or ""
    found = stored.entries(ground.repo)
    listed_at = datetime.now(UTC)
    way = destination.whole(found, request.backup_id)
    findings.backup_id = way.full.backup_id
    if not way.full.manifest.fingerprints:
        raise VerificationFailed(
            f"Backup {way.full.backup_id} has no fingerprint to compare with: take one that has."
        )
    newest = catalogue.newest_full(found)
    is_newest = newest is None or newest.backup_id == way.full.backup_id
    return way, listed_at if is_newest else way.newest


def _log_words(way: Destination) -> str:
    if way.log is None:
        return "no log goes on from it yet"
    return f"{way.log.manifest.bytes_read:,} bytes of log up to {way.newest:%Y-%m-%dT%H:%M:%SZ}"


def _fits(ground: _Ground, way: Destination) -> None:
    """See that the programs are here and read what this backup holds."""
    opts = ground.options
    for program in (opts.server, opts.tool("check-aof"), opts.tool("check-rdb")):
        if not program.exists():
            raise ConfigError(f"{program} is not installed on this host: run provision.")
    point = position.base(way.full.manifest)
    rdb.refuse_unreadable(opts, way.full.backup_id, point.format, way.full.manifest.version)


def _space(root: Path, way: Destination) -> str:
    free = shutil.disk_usage(root).free
    if free < way.size:
        raise VerificationFailed(
            f"{root} has {free // 2**20} MiB free and the backup needs {way.size // 2**20} MiB."
        )
    return f"{free // 2**20:,} MiB free, {way.size // 2**20:,} MiB needed"


def _compare(ground: _Ground, full: Entry, findings: Findings, progress: Progress) -> None:
    """Load the base by itself and compare its content with what was recorded of it."""
    (expected,) = full.manifest.fingerprints
    if expected.algorithm not in (content.ALGORITHM, content.FORMER):
        raise VerificationFailed(
            f"The fingerprint was made by {expected.algorithm!r} and this dbops knows "
            f"{content.ALGORITHM!r}: install the version that took the backup."
        )
    found = _content(ground, expected, progress)
    now = datetime.now(UTC)
    wanted, found = content.settled(expected, now), content.settled(found, now)
    findings.differences += compare(wanted, found)
    findings.tables += compared(wanted, found, findings.differences)


def _lay_base_alone(ground: _Ground) -> None:
    """Put the base into a folder of its own, too: a server begins a log beside what it loads."""
    base, _ = aof.lay_out(ground.alone / aof.FOLDER, with_increment=False)
    os.link(aof.read(ground.place.data).base, base)


def _content(ground: _Ground, expected: Fingerprint, progress: Progress) -> Fingerprint:
    place, began = replace(ground.place, data=ground.alone), time.monotonic()
    with private_server.start(place, ground.limit_seconds, tell=progress) as server:
        ground.cell.prove_process(server.pid)
        with server.connect() as connection:
            return fingerprint.of_server(
                connection,
                expected.point,
                datetime.now(UTC),
                began,
                progress,
                expected.algorithm,
            )


def _newest(
    ground: _Ground, way: Destination, wanted_at: datetime, findings: Findings, progress: Progress
) -> None:
    """Load base and log, open the server for writing and read the newest heartbeat."""
    with step(findings, "recovery to the newest", progress, counts=True) as note:
        server = private_server.start(ground.place, ground.limit_seconds, tell=progress)
        with server, server.connect() as connection:
            ground.cell.prove_process(server.pid)
            private_server.open_(connection)
            connection.ask("SET", _TRIAL_KEY, "1", "EX", 60)
            findings.answered = True
            note.detail = f"up to {way.newest:%Y-%m-%d %H:%M:%S} UTC, and open for writing"
            beat = heartbeat.newest(connection)
    with step(findings, "heartbeat", progress) as note:
        if beat is None:
            raise VerificationFailed(
                "No heartbeat in the restored data, so the recovery point is unknown: "
                "look at the heartbeat service on the primary."
            )
        findings.rpo_seconds = recovery_point(beat, wanted_at)
        note.detail = f"newest beat at {beat:%Y-%m-%d %H:%M:%S} UTC"


def _clean(ground: _Ground, findings: Findings, progress: Progress) -> None:
    try:
        with step(findings, "clean-up", progress) as note:
            scratch.remove(ground.root, ground.end)
            note.detail = f"{ground.root} is gone"
    except StepError:
        pass
