"""The audit: the controls MY-01 to MY-28, each looked at on this member. It changes nothing.

What is *not* here: the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from dbops.audit import host_controls
from dbops.audit.host_controls import Host
from dbops.audit.rules import Rule, check_waivers, judge
from dbops.contract import Control
from dbops.engines.mysql import client, members, options, restore
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.controls import accounts, host, settings
from dbops.engines.mysql.controls.facts import Facts, Row, accounts_of, granted
from dbops.engines.mysql.options import Options
from dbops.errors import Refused
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = tuple(
    sorted(
        (*host.RULES, *settings.RULES, *accounts.RULES),
        key=lambda rule: rule.control_id,
    )
)
_PRIVILEGES = "SELECT grantee, privilege_type, is_grantable FROM information_schema.user_privileges"
_PLUGINS = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_status = 'ACTIVE'"


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
    with client.local(opts) as connection:
        return [
            *judge(RULES, gather(target, opts, connection), opts.audit_waivers, client.explain),
            *here,
        ]


def gather(target: Target, opts: Options, connection: Connection) -> Facts:
    """Read what most controls need, as root over the socket."""

    def rows(query: str) -> Sequence[Row]:
        return client.rows(connection, query)

    found = accounts_of(opts.flavor, rows)
    privileges = {one.name: granted(one, rows) for one in found if one.role}
    for grantee, right, grantable in rows(_PRIVILEGES):
        held = privileges.setdefault(str(grantee).replace("'", ""), set())
        held.add(str(right))
        if grantable == "YES":
            held.add("GRANT OPTION")
    return Facts(
        target=target,
        options=opts,
        settings=client.variables(connection),
        plugins=frozenset(str(row[0]) for row in rows(_PLUGINS)),
        accounts=found,
        privileges={name: frozenset(held) for name, held in privileges.items()},
        replica=members.following(connection),
        process=restore.running_process(opts.require_path("data_dir")),
        rows=rows,
    )
