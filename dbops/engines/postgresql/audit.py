"""The audit: the controls PG-01 to PG-30, each looked at on this member.

It changes nothing but for one forced log switch (PG-30). What is *not* here:
the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from dbops.audit import host_controls
from dbops.audit.host_controls import Host
from dbops.audit.rules import Rule, check_waivers, judge
from dbops.contract import Control
from dbops.engines.postgresql import client, options
from dbops.engines.postgresql.controls import accounts, durability, host, logs, network
from dbops.engines.postgresql.controls.facts import Facts, Row
from dbops.engines.postgresql.options import Options
from dbops.errors import Refused
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = tuple(
    sorted(
        (*host.RULES, *logs.RULES, *accounts.RULES, *network.RULES, *durability.RULES),
        key=lambda rule: rule.control_id,
    )
)
_SETTINGS = "SELECT name, setting FROM pg_settings"
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname"


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
    with ExitStack() as stack:
        return [
            *judge(RULES, gather(target, opts, stack), opts.audit_waivers, client.explain),
            *here,
        ]


def gather(target: Target, opts: Options, stack: ExitStack) -> Facts:
    """Connect as the superuser over the socket and read what most controls need."""
    connections: dict[str, client.Connection] = {}

    def rows(query: str, database: str = "postgres") -> Sequence[Row]:
        if database not in connections:
            connections[database] = stack.enter_context(
                client.connect(opts, database=database, user=opts.superusers[0])
            )
        return connections[database].execute(query.encode()).fetchall()

    return Facts(
        target=target,
        options=opts,
        settings={str(row[0]): str(row[1]) for row in rows(_SETTINGS)},
        databases=tuple(str(row[0]) for row in rows(_DATABASES)),
        standby=bool(rows("SELECT pg_is_in_recovery()")[0][0]),
        rows=rows,
    )
