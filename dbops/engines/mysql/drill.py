"""The restore drill: restore a backup where nothing can be reached, and prove what came back.

What is *not* here: how a data directory is made (:mod:`.refill`), the log replayed
(:mod:`.replay`), and the verdict (:mod:`dbops.drill.verdict`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pymysql

from dbops import handles
from dbops.contract import DrillRequest, DrillResult, Progress, RestoreRequest
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.drill.verdict import (
    Findings,
    Note,
    StepError,
    compared,
    conclude,
    content_words,
    recovery_point,
    step,
)
from dbops.engines.mysql import (
    client,
    destination,
    fingerprint,
    flavor,
    gtid,
    heartbeat,
    options,
    private_server,
    proofs,
    refill,
    replay,
)
from dbops.engines.mysql.destination import Destination
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.options import Options
from dbops.engines.mysql.private_server import Server
from dbops.errors import ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Fingerprint, compare
from dbops.repository import catalogue, routes
from dbops.repository.restic import Repository
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
    "tables",
    "clean-up",
)
_LEAST_LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class _Place:
    """The scratch folder and what is in it; ``former_user`` is who earlier versions drilled as."""

    root: Path
    server: Server
    limit: float
    former_user: str

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def first(self) -> Path:
        """What the server is told before it answers."""
        return self.root / "first.sql"


@dataclass
class _Supply:
    """What is to be restored. ``known_at`` is when the catalogue had been read."""

    repo: Repository
    way: Destination
    known_at: datetime

    @property
    def expected(self) -> Fingerprint:
        return self.way.manifest.fingerprints[0]


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Restore the backup into the scratch folder, prove it and return the result.

    A drill that fails is returned with ``proven`` false and the reason. ConfigError is raised when
    this is no drill host or the backup does not exist. The caller holds the cluster's drill lock:
    the scratch folder is emptied without asking.
    """
    options.require_part(target, "drill")
    opts = options.read(target)
    place = _place(target, opts)
    repo = catalogue.open_repository(target, opts)
    _refuse_unknown(repo, request)
    findings, started = Findings(), datetime.now(UTC)
    try:
        _prove(opts, place, repo, request, findings, progress)
    except StepError:
        pass
    finally:
        _clean(place, findings, progress)
    return conclude(target, findings, STEPS, started, datetime.now(UTC))


def _refuse_unknown(repo: Repository, request: DrillRequest) -> None:
    """Raise ConfigError for a backup that does not exist: a slip of the pen is no failed drill."""
    if request.backup_id is None:
        return
    try:
        found = catalogue.entries(repo)
    except DbopsError:
        return
    routes.choose(found, request.backup_id)


def _place(target: Target, opts: Options) -> _Place:
    root = opts.require_path("scratch_dir")
    hosts = tuple((address, opts.port) for address in opts.hosts.values())
    cell = Cell(opts.drill_user, hosts, root)
    kind = flavor.named(opts.flavor)
    at = Server(root / "my.cnf", root / "data", root / "run", opts.drill_user, cell, kind)
    limit = max(_LEAST_LIMIT_SECONDS, 4 * target.objectives.rto_seconds)
    return _Place(root, at, limit, opts.os_user)


def _prove(
    opts: Options,
    place: _Place,
    repo: Repository,
    request: DrillRequest,
    findings: Findings,
    progress: Progress,
) -> None:
    with _step(findings, "isolation", progress) as note:
        assert place.server.cell is not None
        note.detail = place.server.cell.prove()
    with _step(findings, "catalogue", progress) as note:
        supply = _choose(repo, request, findings)
        note.detail = (
            f"backup {findings.backup_id}, {supply.way.chain.files} files of binary log up to "
            f"{supply.way.chain.end}"
        )
    with _step(findings, "space", progress) as note:
        note.detail = _make_room(opts, place, supply)
    with _step(findings, "restore", progress, counts=True) as note:
        refill.put_back(repo, supply.way, place.server, place.work, place.limit, progress)
        findings.bytes_restored = supply.way.bytes
        note.detail = f"{findings.bytes_restored:,} bytes"
    with _step(findings, "log", progress, counts=True) as note:
        root = refill.fetch_log(repo, supply.way, place.log, progress)
        supply.way = destination.fetched(supply.way, root)
        note.detail = f"{supply.way.chain.files} files without a gap"
    with ExitStack() as stack:
        _compare(stack, place, supply, findings, progress)
        _newest(opts, place, supply, findings, progress)
        with _step(findings, "tables", progress) as note:
            if opts.drill_check_tables:
                with place.server.reading() as connection:
                    note.detail = proofs.check_tables(connection)
            else:
                note.detail = "not checked: switched off by the option drill_check_tables"


def _choose(repo: Repository, request: DrillRequest, findings: Findings) -> _Supply:
    findings.backup_id = request.backup_id or ""
    found = catalogue.entries(repo)
    findings.backup_id = routes.choose(found, request.backup_id).backup_id
    way = destination.choose(repo, RestoreRequest(backup_id=findings.backup_id))
    known_at = datetime.now(UTC)
    if not way.manifest.fingerprints:
        raise VerificationFailed(
            f"Backup {findings.backup_id} has no fingerprint, so what comes back cannot be proven."
        )
    return _Supply(repo, way, known_at)


def _make_room(opts: Options, place: _Place, supply: _Supply) -> str:
    here, manifest = private_server.version(flavor.named(opts.flavor)), supply.way.manifest
    if here != manifest.version:
        raise ConfigError(
            f"Backup {manifest.backup_id} was made by version {manifest.version} of the server and "
            f"this host has {here}: install {manifest.version} here."
        )
    folders = [place.server.data_dir, place.server.run_dir, place.work]
    scratch.create(place.root, opts.drill_user, folders, lambda: _end(place))
    with handles.make(place.log, mode=0o700):
        pass
    scratch.put(place.first, "".join(f"{line};\n" for line in place.server.accounts()))
    settings = proofs.configuration(place.server.flavor, refill.memory_bytes(), place.first)
    scratch.put(place.server.config, settings)
    return proofs.space(place.root, supply.way)


def _compare(
    stack: ExitStack, place: _Place, supply: _Supply, findings: Findings, progress: Progress
) -> None:
    """Recover to the fingerprint's point and compare the content there."""
    way, expected = supply.way, supply.expected
    point = way.start.joined(gtid.parse(expected.point))
    with _step(findings, "recovery to the fingerprint", progress, counts=True) as note:
        stack.enter_context(private_server.running(place.server, place.limit))
        with place.server.connect() as connection:
            replay.seed(connection, way.start)
        replay.run(place.server, way.chain, way.start, point, progress)
        note.detail = f"exactly at {point}"
    with _step(findings, "content", progress) as note:
        found = fingerprint.take(place.server.reading, progress)
        if found.point != str(point):
            raise VerificationFailed(f"The restored server went past {point}, to {found.point}.")
        findings.differences += compare(expected, found)
        findings.tables += compared(expected, found, findings.differences)
        note.ok = not findings.differences
        note.detail = content_words(findings)


def _newest(
    opts: Options, place: _Place, supply: _Supply, findings: Findings, progress: Progress
) -> None:
    """Replay everything archived and read the newest heartbeat."""
    way = supply.way
    point = way.start.joined(gtid.parse(supply.expected.point))
    with _step(findings, "recovery to the newest", progress, counts=True) as note:
        reached: Position = replay.run(place.server, way.chain, point, None, progress)
        with place.server.connect(30) as connection:
            client.rows(connection, "SELECT 1")
        findings.answered = True
        note.detail = f"up to {reached}, and open for writing"
    with _step(findings, "heartbeat", progress) as note:
        with place.server.reading(30) as connection:
            beat = heartbeat.newest(connection, opts.heartbeat_schema)
        if beat is None:
            raise VerificationFailed("The restored data hold no heartbeat.")
        findings.rpo_seconds = recovery_point(beat, supply.known_at)
        note.detail = f"newest beat at {beat:%Y-%m-%d %H:%M:%S} UTC"


def _step(
    findings: Findings, name: str, progress: Progress, counts: bool = False
) -> AbstractContextManager[Note]:
    return step(findings, name, progress, counts, _explain)


def _explain(error: Exception) -> str | None:
    if isinstance(error, pymysql.Error):
        return f"The restored server says: {client.reason(error)}."
    return None


def _end(place: _Place) -> None:
    """End the server that a killed drill left behind."""
    scratch.end([place.server.data_dir, place.work], {place.server.user, place.former_user})


def _clean(place: _Place, findings: Findings, progress: Progress) -> None:
    with suppress(StepError), _step(findings, "clean-up", progress) as note:
        scratch.remove(place.root, lambda: _end(place))
        note.detail = f"{place.root} is gone"
