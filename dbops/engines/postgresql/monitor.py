"""What PostgreSQL's servers answer to the frame of all samples, :mod:`dbops.monitor.target`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from dbops.contract import Sample
from dbops.engines.postgresql import (
    client,
    handshake,
    member_metrics,
    options,
    replication_metrics,
    stored_log,
)
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.manifest import Kind
from dbops.monitor import target as frame
from dbops.monitor.target import Watch
from dbops.targets import Target

METHOD = "pgbackrest"
KINDS: tuple[Kind, ...] = ("full", "differential", "incremental")
_STATEMENT_SECONDS = 5.0


def collect(target: Target) -> Iterator[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    opts = options.read(target)
    yield from frame.collect(target, opts, watch(target, opts))


def watch(target: Target, opts: Options) -> Watch[Connection]:
    """Return what is asked of this host."""
    return Watch(
        method=METHOD,
        kinds=KINDS,
        certificate=handshake.certificate,
        connect=partial(client.connect, opts, statement_timeout_seconds=_STATEMENT_SECONDS),
        vitals=member_metrics.vitals,
        beat=replication_metrics.beat,
        link=partial(replication_metrics.link, target),
        more=partial(_more, target),
        log_dir=lambda data_dir: data_dir / "pg_wal",
        unknown=("archive_pending_bytes",),
        newest_log=partial(stored_log.newest, opts.repo_path, opts.stanza),
        explain=client.explain,
    )


def _more(target: Target, connection: Connection) -> Iterator[Sample]:
    yield from member_metrics.server(connection)
    yield from replication_metrics.collect(target, connection)
