"""What Redis and Valkey answer to the frame of all samples, :mod:`dbops.monitor.target`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dbops.contract import Sample
from dbops.engines.redis import client, handshake, member_metrics, options, replication_metrics
from dbops.engines.redis.member_metrics import Reading
from dbops.engines.redis.options import Options
from dbops.manifest import Kind
from dbops.monitor import target as frame
from dbops.monitor.target import Watch
from dbops.targets import Target

METHOD = "restic"
KINDS: tuple[Kind, ...] = ("full", "log")


def collect(target: Target) -> Iterator[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    opts = options.read(target)
    yield from frame.collect(target, opts, watch(target, opts))


def watch(target: Target, opts: Options) -> Watch[Reading]:
    """Return what is asked of this host."""
    return Watch(
        method=METHOD,
        kinds=KINDS,
        certificate=handshake.certificate,
        connect=partial(_reading, target, opts),
        vitals=member_metrics.vitals,
        beat=lambda reading: reading.beat,
        link=lambda reading, beat: replication_metrics.link(target, reading.info, beat),
        more=partial(_more, target),
    )


@contextmanager
def _reading(target: Target, opts: Options) -> Iterator[Reading]:
    with client.member(
        opts, target.member, opts.monitor_user, opts.monitor_password_file
    ) as connection:
        found = member_metrics.read(connection)
    yield found


def _more(target: Target, reading: Reading) -> Iterator[Sample]:
    yield from member_metrics.more(reading.info)
    yield from replication_metrics.collect(target, reading.info)
