"""The audit: the controls PG-01 to PG-30, each looked at on this member.

It changes nothing but for one forced log switch (PG-30). What is *not* here:
the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from dbops.audit import run as frame
from dbops.audit.rules import Rule, ordered
from dbops.audit.run import Auditing
from dbops.contract import Control
from dbops.engines.postgresql import client, options
from dbops.engines.postgresql.controls import accounts, durability, host, logs, network
from dbops.engines.postgresql.controls.facts import Facts, Row
from dbops.engines.postgresql.options import Options
from dbops.targets import Target

RULES: tuple[Rule[Facts], ...] = ordered(
    *host.RULES, *logs.RULES, *accounts.RULES, *network.RULES, *durability.RULES
)
_SETTINGS = "SELECT name, setting FROM pg_settings"
# -2 marks a database whose DROP was interrupted; nobody can connect to it (pg_database.h).
_DATABASES = """
SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname"""


def audit(target: Target) -> Sequence[Control]:
    """Return how this host stands to every control; see :func:`dbops.audit.run.audit`."""
    opts = options.read(target)
    asked = Auditing(RULES, partial(_gathered, target, opts), client.explain)
    return frame.audit(target, opts, asked)


@contextmanager
def _gathered(target: Target, opts: Options) -> Iterator[Facts]:
    with ExitStack() as stack:
        yield gather(target, opts, stack)


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
