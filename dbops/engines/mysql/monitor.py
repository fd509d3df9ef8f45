"""What MariaDB and MySQL answer to the frame of all samples, :mod:`dbops.monitor.target`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from dbops.contract import Sample
from dbops.engines.mysql import client, handshake, member_metrics, options
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.manifest import Kind
from dbops.monitor import target as frame
from dbops.monitor.target import Watch
from dbops.targets import Target

METHOD = "restic"
KINDS: dict[str, tuple[Kind, ...]] = {
    "mariadb": ("full", "incremental", "log"),
    "mysql": ("full", "log"),
}
_STATEMENT_SECONDS = 5.0


def collect(target: Target) -> Iterator[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    opts = options.read(target)
    yield from frame.collect(target, opts, watch(target, opts))


def watch(target: Target, opts: Options) -> Watch[Connection]:
    """Return what is asked of this host."""
    return Watch(
        method=METHOD,
        kinds=KINDS[opts.flavor],
        certificate=handshake.certificate,
        connect=partial(client.local, opts, opts.agent_user, timeout_seconds=_STATEMENT_SECONDS),
        vitals=member_metrics.vitals,
        beat=partial(member_metrics.beat, opts),
        link=partial(member_metrics.link, target),
        more=member_metrics.more,
        log_dir=lambda data_dir: data_dir,
        explain=client.explain,
    )
