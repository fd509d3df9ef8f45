"""What hosts of MariaDB and MySQL answer to ``dbops check`` (:mod:`dbops.check.host`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from dbops.check import host as frame
from dbops.check import lines
from dbops.check.host import Inspection
from dbops.check.lines import Group
from dbops.contract import Catalogue, Check
from dbops.engines.mysql import (
    checks_member,
    checks_repository,
    client,
    flavor,
    heartbeat,
    options,
    private_server,
)
from dbops.engines.mysql.catalogue import STORE
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.options import Options
from dbops.targets import Target


def check(target: Target) -> Iterable[Check]:
    """Yield one line per check for this host's part in the cluster."""
    opts = options.read(target)
    yield from frame.check(target, opts, inspection(target, opts))


def inspection(target: Target, opts: Options) -> Inspection[Connection]:
    """Return what is asked of this host; root asks the server, over the socket."""
    log = partial(checks_repository.log, target, opts)
    return Inspection(
        connect=partial(client.local, opts),
        version=lambda connection: client.variables(connection)["version"].split("-")[0],
        server=partial(checks_member.server, target),
        beat=lambda connection: heartbeat.newest(connection, opts.heartbeat_schema),
        program=lambda: private_server.version(flavor.named(opts.flavor)),
        reach=lambda: lines.counted(STORE.catalogue(target)),
        catalogue=partial(STORE.catalogue, target),
        log=log if target.part == "repository" else None,
        newest_log=_newest_log,
        log_hint=(
            f"look at dbops-backup-{target.cluster}@log and the units "
            f"dbops-binlog-{target.cluster}@* of the repository host"
        ),
        more=_more(target, opts),
        explain=client.explain,
    )


def _more(target: Target, opts: Options) -> tuple[Group, ...]:
    if target.part != "repository":
        return ()
    return (
        ("binary log", partial(checks_repository.directories, opts)),
        ("servers", partial(checks_repository.servers, target, opts)),
    )


def _newest_log(found: Catalogue) -> datetime | None:
    return max((one.stop for one in found.backups if one.kind == "log"), default=None)
