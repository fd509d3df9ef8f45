"""The audit: the controls RD-01 to RD-25, each looked at on this member.

It changes nothing. What is *not* here: the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from dbops.audit import host_controls
from dbops.audit.host_controls import Host
from dbops.audit.rules import Rule, check_waivers, judge
from dbops.contract import Control
from dbops.engines.redis import client, options, processes
from dbops.engines.redis.client import Connection, by_name, text
from dbops.engines.redis.controls import accounts, durability, host, network
from dbops.engines.redis.controls.facts import Facts, user
from dbops.engines.redis.options import Options
from dbops.errors import Refused, Unreachable
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = tuple(
    sorted(
        (*host.RULES, *accounts.RULES, *network.RULES, *durability.RULES),
        key=lambda rule: rule.control_id,
    )
)


def audit(target: Target) -> Sequence[Control]:
    """Return how this host stands to every control, in order of their ids; a member's come first.

    Raises Refused without root's rights, Unreachable when the server is down and ConfigError for a
    waiver that names no control or gives no reason.
    """
    opts = options.read(target)
    check_waivers(RULES, opts.audit_waivers)
    if os.geteuid() != 0:
        raise Refused("The audit looks at files and processes of others: run it as root.")
    here = host_controls.audit(Host(target, opts.service), opts.audit_waivers)
    if target.part != "member":
        return here
    with client.admin(opts) as connection:
        return [*judge(RULES, gather(target, opts, connection), opts.audit_waivers), *here]


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
