"""PostgreSQL's answers to the restore drill.

What is *not* here: the order of the steps (:mod:`dbops.drill.run`), and how one is done
(:mod:`.refill`, :mod:`.private_server`, :mod:`.proofs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg

from dbops.contract import DrillRequest, DrillResult, Progress
from dbops.drill.run import limit_seconds, run
from dbops.drill.trial import Newest, Supply, Trial
from dbops.engines.postgresql import options as settings
from dbops.engines.postgresql import private_server, proofs, refill, tables, wal
from dbops.engines.postgresql.client import reason as complaint
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.private_server import Scratch
from dbops.engines.postgresql.refill import Supplies
from dbops.manifest import Fingerprint
from dbops.targets import Target


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    """Prove a backup as :func:`dbops.drill.run.run` does; ConfigError when not on a drill host."""
    settings.require_part(target, "drill")
    opts = settings.read(target)
    return run(target, request, progress, _Drill(target, opts, private_server.place(opts)).trial())


@dataclass(frozen=True)
class _Drill:
    target: Target
    options: Options
    place: Scratch

    def trial(self) -> Trial[Supplies]:
        return Trial(
            cell=self.place.cell,
            algorithms=(tables.ALGORITHM, tables.FORMER),
            known=lambda backup_id: refill.choose(self.options, backup_id).label,
            choose=self.choose,
            ready=self.ready,
            fill=(("restore", self.restore), ("log", self.log)),
            to_point=self.to_point,
            content=self.content,
            newest=self.newest,
            proofs=(("indexes", self.indexes), ("pages", self.pages)),
            end=partial(private_server.stop, self.place),
            explain=_explain,
        )

    def choose(self, backup_id: str) -> Supply[Supplies]:
        found = refill.survey(self.target, self.options, refill.choose(self.options, backup_id))
        segments, timeline = found.log.segments, found.log.timeline
        return Supply(
            words=f"{len(segments)} WAL segments up to {segments[-1]} on timeline {timeline}",
            fingerprints=found.fingerprints,
            room=found.room,
            known_at=found.log.listed_at,
            way=found,
        )

    def ready(self, supplies: Supplies) -> None:
        private_server.check_tools(self.place, self.options.amcheck)
        private_server.check_version(self.place, supplies.manifest.version)
        private_server.create(self.place)

    def restore(self, supplies: Supplies, progress: Progress) -> int:
        return refill.restore(self.options, self.place, supplies, progress)

    def log(self, supplies: Supplies, progress: Progress) -> str:
        refill.fetch(self.options, self.place, supplies.log, progress)
        private_server.hand_over(self.place)
        return f"{len(supplies.log.segments)} segments without a gap"

    @contextmanager
    def to_point(
        self, supplies: Supplies, expected: Fingerprint, progress: Progress
    ) -> Iterator[str]:
        timeline, _ = wal.split_segment(supplies.stored.start_segment)
        timeline = expected.timeline or timeline
        proofs.recover_to(self.place, expected.point, timeline, limit_seconds(self.target))
        yield expected.point
        private_server.stop(self.place)

    def content(
        self, supplies: Supplies, expected: Fingerprint, progress: Progress
    ) -> tuple[Fingerprint, Fingerprint]:
        whole = len(supplies.fingerprints) == 1
        return expected, proofs.content(self.place, expected, whole)

    def newest(self, supplies: Supplies, progress: Progress) -> Newest:
        log, limit = supplies.log, limit_seconds(self.target)
        replayed = proofs.recover_newest(self.place, log.segments[-1], log.timeline, limit)
        return Newest(f"up to {replayed}", partial(proofs.newest_beat, self.place))

    def indexes(self) -> str:
        if not self.options.amcheck:
            return "not checked: switched off by the option amcheck"
        return proofs.check_indexes(self.place)

    def pages(self) -> str:
        private_server.stop(self.place)
        return proofs.check_pages(self.place)


def _explain(error: Exception) -> str | None:
    if isinstance(error, psycopg.Error):
        return f"The restored server says: {complaint(error)}."
    return None
