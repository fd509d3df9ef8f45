"""MySQL's and MariaDB's answers to the restore drill.

What is *not* here: the order of the steps (:mod:`dbops.drill.run`), how a data directory is made
(:mod:`.refill`) and the log replayed (:mod:`.replay`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pymysql

from dbops import handles
from dbops.contract import DrillRequest, DrillResult, Progress, RestoreRequest
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.drill.run import limit_seconds, run
from dbops.drill.trial import Newest, Supply, Trial
from dbops.engines.mysql import (
    client,
    destination,
    fingerprint,
    flavor,
    gtid,
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
from dbops.errors import ConfigError, VerificationFailed
from dbops.manifest import Fingerprint
from dbops.repository import catalogue, routes
from dbops.repository.restic import Repository
from dbops.targets import Target


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Prove a backup as :func:`dbops.drill.run.run` does; ConfigError when not on a drill host."""
    options.require_part(target, "drill")
    opts = options.read(target)
    root = opts.require_path("scratch_dir")
    cell = Cell(opts.drill_user, tuple((one, opts.port) for one in opts.hosts.values()), root)
    kind = flavor.named(opts.flavor)
    at = Server(root / "my.cnf", root / "data", root / "run", opts.drill_user, cell, kind)
    repo = catalogue.open_repository(target, opts)
    trial = _Drill(opts, repo, at, cell, limit_seconds(target)).trial()
    return run(target, request, progress, trial)


@dataclass
class _Work:
    """The way, whose chain is exact once the log has been fetched, and where it is followed to."""

    way: Destination
    point: Position


@dataclass(frozen=True)
class _Drill:
    """``running`` holds the restored server from its start to its end."""

    opts: Options
    repo: Repository
    at: Server
    cell: Cell
    limit: float
    running: ExitStack = field(default_factory=ExitStack)

    @property
    def stage(self) -> Path:
        return self.cell.scratch / "work"

    @property
    def log(self) -> Path:
        return self.cell.scratch / "log"

    def trial(self) -> Trial[_Work]:
        return Trial(
            cell=self.cell,
            algorithms=(self.at.flavor.summing.algorithm,),
            known=lambda wanted: routes.choose(catalogue.entries(self.repo), wanted).backup_id,
            choose=self.choose,
            ready=self.ready,
            fill=(("restore", self.put_back), ("log", self.fetch_log)),
            to_point=self.to_point,
            content=self.content,
            newest=self.newest,
            proofs=(("tables", self.tables),),
            end=self.end,
            explain=_explain,
        )

    def choose(self, backup_id: str) -> Supply[_Work]:
        way = destination.choose(self.repo, RestoreRequest(backup_id=backup_id))
        return Supply(
            words=f"{way.chain.files} files of binary log up to {way.chain.end}",
            fingerprints=way.manifest.fingerprints,
            room=proofs.room(way),
            known_at=datetime.now(UTC),
            way=_Work(way, way.start),
        )

    def ready(self, work: _Work) -> None:
        here, manifest = private_server.version(self.at.flavor), work.way.manifest
        if here != manifest.version:
            raise ConfigError(
                f"Backup {manifest.backup_id} was made by version {manifest.version} of the server "
                f"and this host has {here}: install {manifest.version} here."
            )
        settings = self.opts.drill_settings
        proofs.make_ready(self.at, self.cell.scratch, [self.stage], self.end, settings)
        with handles.make(self.log, mode=0o700):
            pass

    def put_back(self, work: _Work, progress: Progress) -> int:
        refill.put_back(self.repo, work.way, self.at, self.stage, self.limit, progress)
        return work.way.bytes

    def fetch_log(self, work: _Work, progress: Progress) -> str:
        root = refill.fetch_log(self.repo, work.way, self.log, progress)
        work.way = destination.fetched(work.way, root)
        return f"{work.way.chain.files} files without a gap"

    @contextmanager
    def to_point(self, work: _Work, expected: Fingerprint, progress: Progress) -> Iterator[str]:
        """Start the server, which then stays, and replay the log up to the fingerprint's point."""
        start, work.point = work.point, work.way.start.joined(gtid.parse(expected.point))
        self.running.enter_context(private_server.running(self.at, self.limit))
        with self.at.connect() as connection:
            replay.seed(connection, start)
        replay.run(self.at, work.way.chain, start, work.point, progress)
        yield str(work.point)

    def content(
        self, work: _Work, expected: Fingerprint, progress: Progress
    ) -> tuple[Fingerprint, Fingerprint]:
        found = fingerprint.take(self.at.reading, progress)
        if found.point != str(work.point):
            raise VerificationFailed(
                f"The restored server went past {work.point}, to {found.point}."
            )
        return expected, fingerprint.as_named(found, expected)

    def newest(self, work: _Work, progress: Progress) -> Newest:
        reached = replay.run(self.at, work.way.chain, work.point, None, progress)
        with self.at.connect(30) as connection:
            client.rows(connection, "SELECT 1")
        beat = partial(proofs.newest_beat, self.at, self.opts.heartbeat_schema)
        return Newest(f"up to {reached}", beat)

    def tables(self) -> str:
        """Check every table and shut the server down in order."""
        words = "not checked: switched off by the option drill_check_tables"
        if self.opts.drill_check_tables:
            with self.at.reading() as connection:
                words = proofs.check_tables(connection)
        self.running.close()
        return words

    def end(self) -> None:
        """End the server, and what a killed drill left; earlier versions drilled as os_user."""
        scratch.end([self.at.data_dir, self.stage], {self.at.user, self.opts.os_user})
        self.running.close()


def _explain(error: Exception) -> str | None:
    if isinstance(error, pymysql.Error):
        return f"The restored server says: {client.reason(error)}."
    return None
