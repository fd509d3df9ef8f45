"""``dbops check``: one line per thing that must hold on this host for the cluster's safety.

What is *not* here: hardening (:mod:`.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dbops.check import lines
from dbops.contract import Check
from dbops.engines.redis import checks_member, checks_repository, options
from dbops.engines.redis.options import Options
from dbops.targets import Target

Lines = Callable[[Target, Options], Iterator[Check]]
_PARTS: dict[str, tuple[Lines, ...]] = {
    "member": (
        checks_member.directories,
        checks_member.certificate,
        checks_member.kernel,
        checks_member.server,
        checks_member.sentinels,
        checks_member.repository,
    ),
    "repository": (
        checks_repository.directories,
        checks_repository.hidden_replica,
        checks_repository.stored,
        checks_repository.attempts,
    ),
    "drill": (checks_repository.drill_host, checks_repository.stored),
}


def check(target: Target) -> Iterable[Check]:
    """Yield one line per check for this host's part in the cluster."""
    opts = options.read(target)
    yield from lines.run(_PARTS[target.part], target, opts)
