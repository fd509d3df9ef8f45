"""The audit: the controls RD-01 to RD-25, each looked at on this member.

It changes nothing. What is *not* here: the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from dbops.audit import run as frame
from dbops.audit.rules import Rule, ordered
from dbops.audit.run import Auditing
from dbops.contract import Control
from dbops.engines.redis import client, options, processes
from dbops.engines.redis.client import Connection, by_name, text
from dbops.engines.redis.controls import accounts, durability, host, network
from dbops.engines.redis.controls.facts import Facts, user
from dbops.engines.redis.options import Options
from dbops.errors import Unreachable
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = ordered(
    *host.RULES, *accounts.RULES, *network.RULES, *durability.RULES
)


def audit(target: Target) -> Sequence[Control]:
    """Return how this host stands to every control; see :func:`dbops.audit.run.audit`."""
    opts = options.read(target)
    return frame.audit(target, opts, Auditing(RULES, partial(_gathered, target, opts)))


@contextmanager
def _gathered(target: Target, opts: Options) -> Iterator[Facts]:
    with client.admin(opts) as connection:
        yield gather(target, opts, connection)


def gather(target: Target, opts: Options, connection: Connection) -> Facts:
    """Read what most controls need as the administrator, over the socket."""
    running = processes.working_in(opts.require_path("data_dir"))
    if not running:
        raise Unreachable(f"No server runs on {opts.data_dir}: start the service.")
    names = sorted(text(one) for one in connection.ask("ACL", "USERS"))
    return Facts(
        target=target,
        options=opts,
        settings=connection.config("*"),
        info=connection.info("server") | connection.info("persistence"),
        users=tuple(user(name, by_name(connection.ask("ACL", "GETUSER", name))) for name in names),
        process=running[0],
        ask=connection.ask,
    )
