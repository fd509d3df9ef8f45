"""The audit: the controls MY-01 to MY-28, each looked at on this member. It changes nothing.

What is *not* here: the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from dbops.audit import run as frame
from dbops.audit.rules import Rule, ordered
from dbops.audit.run import Auditing
from dbops.contract import Control
from dbops.engines.mysql import client, members, options, restore
from dbops.engines.mysql.client import Connection
from dbops.engines.mysql.controls import accounts, host, settings
from dbops.engines.mysql.controls.facts import Facts, Row, accounts_of, granted
from dbops.engines.mysql.options import Options
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = ordered(*host.RULES, *settings.RULES, *accounts.RULES)
_PRIVILEGES = "SELECT grantee, privilege_type, is_grantable FROM information_schema.user_privileges"
_PLUGINS = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_status = 'ACTIVE'"


def audit(target: Target) -> Sequence[Control]:
    """Return how this host stands to every control; see :func:`dbops.audit.run.audit`."""
    opts = options.read(target)
    asked = Auditing(RULES, partial(_gathered, target, opts), client.explain)
    return frame.audit(target, opts, asked)


@contextmanager
def _gathered(target: Target, opts: Options) -> Iterator[Facts]:
    with client.local(opts) as connection:
        yield gather(target, opts, connection)


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
