"""The audit: the controls PG-01 to PG-30, each looked at on this member.

It changes nothing but for one forced log switch (PG-30). A control that cannot be looked at has
failed. What is *not* here: the controls themselves (:mod:`.controls`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

import psycopg

from dbops.contract import Control
from dbops.engines.postgresql import client, options
from dbops.engines.postgresql.controls import accounts, durability, host, logs, network
from dbops.engines.postgresql.controls.facts import Facts, Finding, Row, Rule
from dbops.engines.postgresql.options import Options
from dbops.errors import ConfigError, DbopsError, Refused
from dbops.targets import Target

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (*host.RULES, *logs.RULES, *accounts.RULES, *network.RULES, *durability.RULES),
        key=lambda rule: rule.control_id,
    )
)
_SETTINGS = "SELECT name, setting FROM pg_settings"
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname"


def audit(target: Target) -> Sequence[Control]:
    """Return how this member stands to every control, in order of their ids.

    Raises Refused without root's rights, Unreachable when the server is down and ConfigError for a
    waiver that names no control or gives no reason.
    """
    options.require_part(target, "member")
    opts = options.read(target)
    check_waivers(opts.audit_waivers)
    if os.geteuid() != 0:
        raise Refused("The audit looks at files and processes of others: run it as root.")
    with ExitStack() as stack:
        return judge(gather(target, opts, stack), opts.audit_waivers)


def check_waivers(waivers: dict[str, str]) -> None:
    """Raise ConfigError for a waiver of an unknown control or without a reason."""
    known = {rule.control_id for rule in RULES}
    for control_id, reason in waivers.items():
        if control_id not in known:
            raise ConfigError(
                f"The audit waiver {control_id!r} names no control: use PG-01 to PG-30."
            )
        if not reason.strip():
            raise ConfigError(f"The audit waiver of {control_id} gives no reason: write one.")


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


def judge(facts: Facts, waivers: dict[str, str]) -> list[Control]:
    """Apply every control to ``facts``; a waiver counts only for one that does not pass."""
    found = []
    for rule in RULES:
        finding = _look(rule, facts)
        waived = finding.status == "fail" and rule.control_id in waivers
        found.append(
            Control(
                control_id=rule.control_id,
                title=rule.title,
                status="waived" if waived else finding.status,
                detail=finding.detail,
                reason=waivers[rule.control_id] if waived else "",
            )
        )
    return found


def _look(rule: Rule, facts: Facts) -> Finding:
    try:
        return rule.check(facts)
    except psycopg.Error as error:
        return Finding("fail", f"cannot be checked: {client.reason(error)}")
    except (DbopsError, OSError, ValueError, KeyError, IndexError) as error:
        return Finding("fail", f"cannot be checked: {error}")
