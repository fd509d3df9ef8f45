"""The samples of one target, by this host's part in the cluster: the frame tells, the engine knows.

An engine answers by a :class:`Watch`, a record of its own functions. A value that cannot be had has
a ``_known`` of 0 beside it. What is *not* here: what only one engine's servers have, and HTTP,
deadlines and the labels ``engine``, ``cluster`` and ``instance_name``, which the exporter adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from dbops import status
from dbops.contract import Sample
from dbops.errors import CommandFailed, Unreachable
from dbops.manifest import Kind
from dbops.monitor import samples
from dbops.monitor.certificates import Certificate
from dbops.options import EngineOptions
from dbops.targets import Target

S = TypeVar("S")
_UP = "Whether the server answers."


@dataclass(frozen=True)
class Vitals:
    """What a server says of itself as a whole: its version, its start (since 1970), its sessions.

    What an engine does not know is None, and then there is no such series.
    """

    version: str
    started: float
    sessions: float
    sessions_limit: float
    longest_transaction_seconds: float | None = None
    blocked_sessions: float | None = None
    longest_lock_wait_seconds: float | None = None


class Link(NamedTuple):
    """How a replica follows its source; ``contact`` is when it last heard of it (since 1970)."""

    up: bool
    contact: float
    behind_bytes: float


@dataclass
class Seen:
    """What was last known of the source while the link was up. Times are seconds since 1970."""

    contact: float = 0.0
    end: float = 0.0
    rate: float = 0.0

    def measured(self, applied: float, end: float, contact: float) -> Link:
        """Return a link that is up; ``end`` is the source's position, ``contact`` when it said."""
        if self.contact and contact > self.contact:
            self.rate = max(0.0, (end - self.end) / (contact - self.contact))
        self.contact, self.end = contact, end
        return Link(True, contact, max(0.0, end - applied))

    def estimated(self, applied: float, contact: float, beat: float, now: float) -> Link:
        """Return a link that is cut: log goes on at the rate it had, since the last contact.

        The newest heartbeat, at ``beat``, stands in for a source that was never heard of.
        """
        behind = max(1.0, self.end - applied) + self.rate * max(0.0, now - self.contact)
        return Link(False, max(self.contact, contact) or beat, behind)


@dataclass(frozen=True)
class Watch(Generic[S]):
    """What the frame asks an engine of a target.

    ``method`` names the tool of backups, ``kinds`` those it takes. ``log_dir`` is where the log
    lies, by the data directory; None where it is no place of its own. ``certificate`` is what a
    port serves; OSError for none. ``connect`` opens what the functions behind it are asked on, and
    raises Unreachable or CommandFailed. ``beat`` is the time of the newest heartbeat there, None
    for none; ``link`` how a replica follows, None of a primary. ``more`` yields the engine's own
    samples. ``unknown`` names those of them that are not known while the server is down.
    ``newest_log`` is the time that the repository's log goes up to; None where the catalogue's
    newest point is that. ``explain`` says what the driver's own errors mean, None for any other.
    """

    method: str
    kinds: tuple[Kind, ...]
    certificate: Callable[[tuple[str, int]], Certificate]
    connect: Callable[[], AbstractContextManager[S]]
    vitals: Callable[[S], Vitals]
    beat: Callable[[S], float | None]
    link: Callable[[S, float], Link | None]
    more: Callable[[S], Iterator[Sample]]
    log_dir: Callable[[Path], Path] | None = None
    unknown: tuple[str, ...] = ()
    newest_log: Callable[[], float | None] | None = None
    explain: Callable[[Exception], str | None] = lambda error: None


def collect(target: Target, opts: EngineOptions, watch: Watch[S]) -> Iterator[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    yield from samples.objectives(target)
    if target.part == "member":
        yield from _member(target, opts, watch)
    elif target.part == "repository":
        yield from _repository(target, opts, watch)
    else:
        yield from samples.disk("scratch", opts.require_path("scratch_dir"))
        yield from samples.drills(target, watch.method, opts.drill_interval_seconds or 0.0)


def _repository(target: Target, opts: EngineOptions, watch: Watch[S]) -> Iterator[Sample]:
    noted = status.read(target)
    intervals = opts.schedule_interval_seconds
    yield from samples.disk("backup", opts.repo_path)
    yield from samples.backups(noted, watch.method, watch.kinds, intervals)
    newest = watch.newest_log() if watch.newest_log else samples.noted_newest(noted)
    yield from samples.exposure(newest, time.time())


def _member(target: Target, opts: EngineOptions, watch: Watch[S]) -> Iterator[Sample]:
    """Yield what can be had without the server, then what it says; Unreachable when it is down."""
    data_dir = opts.require_path("data_dir")
    yield from samples.disk("data", data_dir)
    if watch.log_dir is not None:
        yield from samples.disk("log", watch.log_dir(data_dir))
    yield from samples.certificate(opts.address(target.member), watch.certificate)
    try:
        with watch.connect() as server:
            yield Sample("dbops_up", 1.0, (), _UP)
            yield from vitals(watch.vitals(server))
            yield from standing(watch, server)
            yield from watch.more(server)
    except (Unreachable, CommandFailed) as error:
        yield from _down(watch)
        raise Unreachable(str(error)) from None
    except Exception as error:
        words = watch.explain(error)
        if words is None:
            raise
        yield from _down(watch)
        raise Unreachable(f"The server on {target.member} stopped answering: {words}.") from None


def _down(watch: Watch[S]) -> Iterator[Sample]:
    """Yield what is said when the server does not answer; the values stay as they were."""
    yield Sample("dbops_up", 0.0, (), _UP)
    for name in ("replication_lag_seconds", "replication_lag_bytes", *watch.unknown):
        yield Sample(f"dbops_{name}_known", 0.0, (), samples.KNOWN)


def vitals(about: Vitals) -> Iterator[Sample]:
    """Yield what a server says of itself as a whole, and of its sessions."""
    version = (("version", about.version),)
    used = about.sessions / max(1.0, about.sessions_limit)
    yield Sample("dbops_server_version_info", 1.0, version, "The server's version.")
    yield Sample("dbops_connections", about.sessions, (), "Sessions of clients.")
    for name, value, text in (
        ("start_timestamp_seconds", about.started, "When the server was started."),
        ("connections_used_ratio", used, _USED),
        (
            "longest_transaction_seconds",
            about.longest_transaction_seconds,
            "Age of the oldest transaction that is open.",
        ),
        ("blocked_sessions", about.blocked_sessions, "Sessions that wait for a lock."),
        (
            "longest_lock_wait_seconds",
            about.longest_lock_wait_seconds,
            "How long the session has waited that waits longest for a lock.",
        ),
    ):
        if value is not None:
            yield Sample(f"dbops_{name}", value, (), text)


_USED = "Sessions in relation to those that ordinary accounts may open."


def standing(watch: Watch[S], server: S) -> Iterator[Sample]:
    """Yield role, heartbeat, lag and link."""
    beat = watch.beat(server)
    link = watch.link(server, beat or 0.0)
    for role, held in (("primary", link is None), ("replica", link is not None)):
        yield Sample("dbops_role", float(held), (("role", role),), "Whether it holds this role.")
    yield from followed(beat, link, time.time())


def followed(beat: float | None, link: Link | None, now: float) -> Iterator[Sample]:
    """Yield the heartbeat's age, lag and link; ``link`` is None of a primary."""
    age = max(0.0, now - beat) if beat is not None else 0.0
    yield Sample("dbops_heartbeat_age_seconds", age, (), "Age of the newest heartbeat here.")
    yield Sample("dbops_heartbeat_known", float(beat is not None), (), "Whether there is one.")
    if link is None:
        yield from samples.lag(0.0, 0.0, True, True)
        yield from samples.link(True, now)
    else:
        yield from samples.lag(age, link.behind_bytes, beat is not None, link.up)
        yield from samples.link(link.up, link.contact)
