"""``dbops check`` of one host, by its part: the frame looks, the engine answers.

An engine answers by an :class:`Inspection`, a record of its own functions; a line that every engine
has is worded here and in :mod:`.lines`. What is *not* here: hardening (:mod:`dbops.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from dbops.check import lines
from dbops.check.lines import Group
from dbops.contract import Catalogue, Check
from dbops.errors import DbopsError
from dbops.options import EngineOptions
from dbops.targets import Target

S = TypeVar("S")
LEAST_FRESH_SECONDS = 10.0
"""A beat may be five intervals old, and never less than this."""


@dataclass(frozen=True)
class Inspection(Generic[S]):
    """What the frame asks an engine of a host; each function raises a DbopsError.

    ``connect`` opens what the functions behind it are asked on. ``version`` is the server's,
    ``beat`` the time of the newest heartbeat there, None for none. ``server`` yields the engine's
    own lines of it, its role among them. ``program`` is the version of the server's program on a
    drill host. ``reach`` says what a member sees of the repository, ``catalogue`` is all that it
    holds. ``log`` yields whether the stored log is whole, None where that cannot be told here;
    ``newest_log`` is the time that it goes up to, None for an engine without a log, and
    ``log_hint`` says where to look when it is old. ``more`` are further lines of this host, by what
    they look at. ``explain`` says what the driver's own errors mean, None for any other.
    """

    connect: Callable[[], AbstractContextManager[S]]
    version: Callable[[S], str]
    server: Callable[[S], Iterable[Check]]
    beat: Callable[[S], datetime | None]
    program: Callable[[], str]
    reach: Callable[[], str]
    catalogue: Callable[[], Catalogue]
    log: Callable[[Catalogue], Iterable[Check]] | None = None
    newest_log: Callable[[Catalogue], datetime | None] | None = None
    log_hint: str = ""
    more: tuple[Group, ...] = ()
    explain: Callable[[Exception], str | None] = lambda error: None


def check(target: Target, opts: EngineOptions, asked: Inspection[S]) -> Iterator[Check]:
    """Yield one line per check for this host's part in the cluster."""
    yield from lines.run(_Host(target, opts, asked).groups(), asked.explain)


@dataclass(frozen=True)
class _Host(Generic[S]):
    target: Target
    opts: EngineOptions
    asked: Inspection[S]

    def groups(self) -> tuple[Group, ...]:
        more = self.asked.more
        if self.target.part == "member":
            return (
                ("data directory", self.data),
                ("certificate", lambda: [lines.certificate(self.opts.tls_certificate)]),
                ("server", self.server),
                *more,
                ("repository", self.reached),
            )
        if self.target.part == "repository":
            attempts: Group = ("attempts", lambda: lines.attempts(self.target))
            return (
                ("directories", self.directories),
                *more,
                ("repository", self.stored),
                attempts,
            )
        return (("drill host", self.drill), *more, ("repository", self.stored))

    def data(self) -> Iterator[Check]:
        place = self.opts.require_path("data_dir")
        yield lines.private(place, "data directory is private", self.opts.os_user)
        yield lines.headroom(place, "data disk has room")

    def directories(self) -> Iterator[Check]:
        yield lines.private(self.opts.repo_path, "repository is private", self.opts.os_user)
        yield lines.headroom(self.opts.repo_path, "repository disk has room")

    def server(self) -> Iterator[Check]:
        """Look at the server itself: version, settings, role, replication, heartbeat."""
        with ExitStack() as stack:
            try:
                server = stack.enter_context(self.asked.connect())
            except DbopsError as error:
                hint = "start the service and read its log"
                yield Check("server answers", False, str(error), hint)
                return
            yield Check("server answers", True, f"port {self.opts.port}")
            version = self.asked.version(server)
            yield lines.version(version, self.target, "render the target again")
            yield from self.asked.server(server)
            yield self.beat(server)

    def beat(self, server: S) -> Check:
        """Check that the newest heartbeat on this member is fresh."""
        name = "heartbeat is fresh"
        hint = "look at the service dbops-heartbeat on the primary, then at the replication"
        try:
            newest = self.asked.beat(server)
        except Exception as error:
            words = str(error) if isinstance(error, DbopsError) else self.asked.explain(error)
            if words is None:
                raise
            return Check(name, False, words, hint)
        if newest is None:
            return Check(name, False, "no heartbeat was ever written", hint)
        age = (datetime.now(UTC) - newest).total_seconds()
        limit = max(LEAST_FRESH_SECONDS, 5 * self.opts.heartbeat_interval_seconds)
        return Check(name, age <= limit, f"{age:.1f} s ago", hint)

    def reached(self) -> Iterator[Check]:
        yield Check("repository answers", True, self.asked.reach())

    def stored(self) -> Iterator[Check]:
        """Look at what the repository holds: encryption, redundancy, ages, log."""
        asked, found = self.asked, self.asked.catalogue()
        backups, rpo_seconds = found.backups, self.target.objectives.rpo_seconds
        yield Check("repository answers", True, lines.counted(found))
        yield from lines.sound(backups)
        yield lines.redundancy(backups, self.opts.minimum_redundancy)
        yield lines.plausible(found)
        for kind, seconds in self.opts.schedule_interval_seconds.items():
            if kind != "log":
                yield lines.age(backups, kind, seconds)
        if asked.log is not None:
            yield from asked.log(found)
        if asked.newest_log is not None:
            yield lines.log_age(asked.newest_log(found), rpo_seconds, asked.log_hint)
        yield lines.fingerprint(backups)

    def drill(self) -> Iterator[Check]:
        """Look at what a drill needs on this host, and how the last one ended."""
        yield lines.version(self.asked.program(), self.target, "run provision")
        place, interval = self.opts.require_path("scratch_dir"), self.opts.drill_interval_seconds
        yield from lines.drills(self.target, place, interval)
