"""Redis's and Valkey's answers to the restore drill.

The base is loaded by itself first and its content compared with the fingerprint that was made of
exactly that file; then base and log together give the newest data. What is *not* here: the order of
the steps (:mod:`dbops.drill.run`) and how files are fetched and checked (:mod:`.refill`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dbops import runner
from dbops.contract import DrillRequest, DrillResult, Progress
from dbops.drill import scratch
from dbops.drill.isolation import Cell
from dbops.drill.run import limit_seconds, run
from dbops.drill.trial import Newest, Supply, Trial
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
from dbops.errors import ConfigError
from dbops.manifest import Fingerprint
from dbops.options import require_part
from dbops.repository import catalogue as stored
from dbops.repository import routes
from dbops.repository.restic import Repository
from dbops.targets import Target

_TRIAL_KEY = "dbops:drill"
_FETCHER = "root"


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Prove a backup as :func:`dbops.drill.run.run` does; ConfigError when not on a drill host."""
    require_part(target, "drill")
    opts = settings.read(target)
    root = opts.require_path("scratch_dir")
    cell = Cell(opts.drill_user, tuple((one, opts.port) for one in opts.hosts.values()), root)
    drill = _Drill(opts, catalogue.open_(target, opts), cell, limit_seconds(target))
    return run(target, request, progress, drill.trial())


@dataclass(frozen=True)
class _Drill:
    opts: Options
    repo: Repository
    cell: Cell
    limit: float

    @property
    def place(self) -> Place:
        """The place of the private server."""
        root = self.cell.scratch
        return Place(root / "data", root / "run", self.cell.user, self.opts, self.cell)

    @property
    def alone(self) -> Path:
        """The data directory in which the base stands by itself."""
        return self.cell.scratch / "alone"

    def trial(self) -> Trial[Destination]:
        return Trial(
            cell=self.cell,
            algorithms=(content.ALGORITHM, content.FORMER),
            known=lambda wanted: routes.choose(stored.entries(self.repo), wanted).backup_id,
            choose=self.choose,
            ready=self.ready,
            fill=(("restore", self.restore), ("files", self.files)),
            content=self.content,
            newest=self.newest,
            end=self.end,
        )

    def choose(self, backup_id: str) -> Supply[Destination]:
        """Return what to restore, wanted up to now; of a former backup up to its own log's end."""
        found = stored.entries(self.repo)
        listed_at = datetime.now(UTC)
        way = destination.whole(found, backup_id)
        newest = catalogue.newest_full(found)
        is_newest = newest is None or newest.backup_id == backup_id
        return Supply(
            words=_log_words(way),
            fingerprints=way.full.manifest.fingerprints,
            room=way.room,
            known_at=listed_at if is_newest else way.newest,
            way=way,
        )

    def ready(self, way: Destination) -> None:
        """See that the programs are here and read what this backup holds."""
        opts, full = self.opts, way.full
        for program in (opts.server, opts.tool("check-aof"), opts.tool("check-rdb")):
            if not program.exists():
                raise ConfigError(f"{program} is not installed on this host: run provision.")
        written = position.base(full.manifest).format
        rdb.refuse_unreadable(opts, full.backup_id, written, full.manifest.version)
        folders = (self.place.data, self.alone, self.place.run)
        scratch.create(self.cell.scratch, _FETCHER, folders, self.end)

    def restore(self, way: Destination, progress: Progress) -> int:
        return refill.fetch(self.repo, way, self.place.data, None, progress)

    def files(self, way: Destination, progress: Progress) -> str:
        """Check the files; a server begins a log beside what it loads, so the base gets a copy."""
        refill.same_base(self.place.data, way.full)
        base, _ = aof.lay_out(self.alone / aof.FOLDER, with_increment=False)
        os.link(aof.read(self.place.data).base, base)
        scratch.give((self.place.data, self.alone, self.place.run), self.cell.user)
        return refill.check(self.opts, self.place.data, self.inside)

    def inside(self, command: runner.Command) -> runner.Completed:
        """Run a tool on the restored files, cut off as the server is."""
        limit = command.timeout_seconds
        return self.cell.capture(command.argv, title=command.title, timeout_seconds=limit)

    def content(
        self, way: Destination, expected: Fingerprint, progress: Progress
    ) -> tuple[Fingerprint, Fingerprint]:
        """Load the base by itself and read it, without what has expired by now."""
        place, began = replace(self.place, data=self.alone), time.monotonic()
        point, algorithm = expected.point, expected.algorithm
        with private_server.start(place, self.limit, tell=progress) as server:
            self.cell.prove_process(server.pid)
            with server.connect() as connection:
                now = datetime.now(UTC)
                found = fingerprint.of_server(connection, point, now, began, progress, algorithm)
        now = datetime.now(UTC)
        return content.settled(expected, now), content.settled(found, now)

    def newest(self, way: Destination, progress: Progress) -> Newest:
        """Load base and log, and open the server for writing."""
        server = private_server.start(self.place, self.limit, tell=progress)
        with server, server.connect() as connection:
            self.cell.prove_process(server.pid)
            private_server.open_(connection)
            connection.ask("SET", _TRIAL_KEY, "1", "EX", 60)
            beat = heartbeat.newest(connection)
        return Newest(f"up to {way.newest:%Y-%m-%d %H:%M:%S} UTC", lambda: beat)

    def end(self) -> None:
        """End the servers that a killed drill left running."""
        scratch.end((self.place.data, self.alone), {self.cell.user, self.opts.os_user})


def _log_words(way: Destination) -> str:
    if way.log is None:
        return "no log goes on from it yet"
    return f"{way.log.manifest.bytes_read:,} bytes of log up to {way.newest:%Y-%m-%dT%H:%M:%SZ}"
