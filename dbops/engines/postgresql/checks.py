"""``dbops check``: one line per thing that must hold on this host for the cluster's safety.

What is *not* here: hardening (:mod:`.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.postgresql import checks_member, checks_repository, options
from dbops.engines.postgresql.options import Options
from dbops.targets import Target

Lines = Callable[[Target, Options], Iterator[Check]]
_PARTS: dict[str, tuple[Lines, ...]] = {
    "member": (
        checks_member.directories,
        checks_member.certificate,
        checks_member.server,
        checks_member.repository,
    ),
    "repository": (
        checks_repository.directories,
        checks_repository.tool,
        checks_repository.servers,
        checks_repository.stanza,
        checks_repository.attempts,
    ),
    "drill": (checks_repository.drill_host, checks_repository.stanza),
}


def check(target: Target) -> Iterable[Check]:
    """Yield one line per check for this host's part in the cluster."""
    opts = options.read(target)
    yield from lines.run(_PARTS[target.part], target, opts)
