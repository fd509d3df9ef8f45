"""``dbops audit`` of one host: the frame judges, the engine gathers what its controls look at.

What is *not* here: the controls that every host has (:mod:`.host_controls`), and an engine's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic

from dbops.audit import host_controls
from dbops.audit.host_controls import Host
from dbops.audit.rules import Facts, Rule, check_waivers, judge
from dbops.contract import Control
from dbops.errors import Refused
from dbops.options import EngineOptions
from dbops.targets import Target


@dataclass(frozen=True)
class Auditing(Generic[Facts]):
    """What the frame asks an engine of a member.

    ``rules`` are its controls. ``gather`` reads what most of them need and keeps the connection
    open for the rest; Unreachable when the server is down. ``explain`` says what the driver's own
    errors mean, None for any other.
    """

    rules: Sequence[Rule[Facts]]
    gather: Callable[[], AbstractContextManager[Facts]]
    explain: Callable[[Exception], str | None] = lambda error: None


def audit(target: Target, opts: EngineOptions, asked: Auditing[Facts]) -> Sequence[Control]:
    """Return how this host stands to every control, in order of their ids; a member's come first.

    Raises Refused without root's rights, Unreachable when the server is down and ConfigError for a
    waiver that names no control or gives no reason.
    """
    check_waivers(asked.rules, opts.audit_waivers)
    if os.geteuid() != 0:
        raise Refused("The audit looks at files and processes of others: run it as root.")
    here = host_controls.audit(Host(target, opts.service), opts.audit_waivers)
    if target.part != "member":
        return here
    with asked.gather() as facts:
        return [*judge(asked.rules, facts, opts.audit_waivers, asked.explain), *here]
