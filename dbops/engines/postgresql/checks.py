"""What PostgreSQL's hosts answer to ``dbops check`` (:mod:`dbops.check.host`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from dbops.check import host as frame
from dbops.check.host import Inspection
from dbops.check.lines import Group
from dbops.contract import Catalogue, Check
from dbops.engines.postgresql import (
    catalogue,
    checks_member,
    checks_repository,
    client,
    heartbeat,
    options,
    pgbackrest,
)
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.runner import Command, capture
from dbops.targets import Target


def check(target: Target) -> Iterable[Check]:
    """Yield one line per check for this host's part in the cluster."""
    opts = options.read(target)
    yield from frame.check(target, opts, inspection(target, opts))


def inspection(target: Target, opts: Options) -> Inspection[Connection]:
    """Return what is asked of this host."""
    return Inspection(
        connect=partial(client.connect, opts, database="postgres", user=opts.monitor_user),
        version=lambda connection: connection.info.parameter_status("server_version") or "",
        server=partial(checks_member.server, target, opts),
        beat=heartbeat.newest,
        program=partial(_program, opts),
        reach=partial(_reach, opts),
        catalogue=partial(catalogue.catalogue, target),
        log=partial(checks_repository.log, opts),
        newest_log=partial(_newest_log, opts),
        log_hint="look at dbops-heartbeat on the primary, then at the archiver's log",
        more=_more(target, opts),
        explain=client.explain,
    )


def _more(target: Target, opts: Options) -> tuple[Group, ...]:
    if target.part == "member":
        return (
            ("data", partial(checks_member.data, opts)),
            ("stanza", partial(checks_member.stanza, target, opts)),
        )
    if target.part == "repository":
        return (
            ("tool", partial(checks_repository.tool, opts)),
            ("servers", partial(checks_repository.servers, target, opts)),
        )
    return ()


def _program(opts: Options) -> str:
    binary = opts.require_path("bin_dir") / "postgres"
    said = capture(Command((str(binary), "--version"), timeout_seconds=30)).stdout
    found = re.search(r"\) (\S+)", said)
    return found[1] if found else "of an unknown version"


def _reach(opts: Options) -> str:
    return f"{opts.stanza}: {len(pgbackrest.info(opts).backups)} backups"


def _newest_log(opts: Options, found: Catalogue) -> datetime | None:
    return catalogue.newest_archived(opts, pgbackrest.info(opts))
