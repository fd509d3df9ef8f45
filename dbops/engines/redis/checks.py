"""What hosts of Redis and Valkey answer to ``dbops check`` (:mod:`dbops.check.host`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from dbops.check import host as frame
from dbops.check import lines
from dbops.check.host import Inspection
from dbops.check.lines import Group
from dbops.contract import Catalogue, Check
from dbops.engines.redis import (
    checks_member,
    checks_repository,
    client,
    heartbeat,
    options,
    rdb,
)
from dbops.engines.redis.catalogue import STORE
from dbops.engines.redis.client import Connection
from dbops.engines.redis.options import Options
from dbops.targets import Target


def check(target: Target) -> Iterable[Check]:
    """Yield one line per check for this host's part in the cluster."""
    opts = options.read(target)
    yield from frame.check(target, opts, inspection(target, opts))


def inspection(target: Target, opts: Options) -> Inspection[Connection]:
    """Return what is asked of this host."""
    who = opts.monitor_user, opts.monitor_password_file
    return Inspection(
        connect=partial(client.member, opts, target.member, *who),
        version=checks_member.version,
        server=partial(checks_member.server, target, opts),
        beat=heartbeat.newest,
        program=lambda: rdb.server_version(opts).split(" ", 1)[1],
        reach=lambda: lines.counted(STORE.catalogue(target)),
        catalogue=partial(STORE.catalogue, target),
        newest_log=_newest_log,
        log_hint="look at the log backup's timer, the hidden replica and the heartbeat",
        more=_more(target, opts),
    )


def _more(target: Target, opts: Options) -> tuple[Group, ...]:
    if target.part == "member":
        return (
            ("data", partial(checks_member.data, opts)),
            ("kernel", checks_member.kernel),
            ("Sentinels", partial(checks_member.sentinels, target, opts)),
        )
    if target.part == "repository":
        return (
            ("hidden replica's directory", partial(checks_repository.directories, opts)),
            ("hidden replica", partial(checks_repository.hidden_replica, opts)),
        )
    return ()


def _newest_log(found: Catalogue) -> datetime | None:
    return found.window.newest if found.window else None
