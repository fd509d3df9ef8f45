"""Redis's and Valkey's answers to a restore in place.

What is *not* here: the order of the steps (:mod:`dbops.restore.plan`), which backup and time
(:mod:`.destination`), how the files are made (:mod:`.refill`), and what the restored server is
asked (:mod:`.recovery`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from dbops.contract import RestoreRequest
from dbops.engines.redis import catalogue, destination, options, processes, recovery, refill
from dbops.engines.redis.destination import Destination
from dbops.engines.redis.options import Options
from dbops.options import require_part
from dbops.repository.restic import Repository
from dbops.restore import plan
from dbops.restore.inplace import DataDir, InPlace, Wait
from dbops.runner import Action, Command, OnLine, Plan, capture, watched
from dbops.targets import Target

_OWN = ("appendonlydir", "dump.rdb", "nodes.conf")
_TEMPORARY = ("temp-", ".nfs")


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps of a restore, or refuse, as :func:`dbops.restore.plan.plan` does."""
    return plan.plan(target, request, _in_place(target))


def plan_discard(target: Target) -> Plan:
    """Return what removes replaced data, as :func:`dbops.restore.plan.discard` does."""
    return plan.discard(target, _in_place(target))


def _in_place(target: Target) -> InPlace[Destination]:
    require_part(target, "member")
    opts = options.read(target)
    return _Member(target, opts, opts.require_path("data_dir")).in_place()


@dataclass(frozen=True)
class _Member:
    target: Target
    opts: Options
    data_dir: Path

    @cached_property
    def repo(self) -> Repository:
        return catalogue.open_(self.target, self.opts)

    @property
    def user(self) -> str | None:
        return self.opts.os_user if os.geteuid() == 0 else None

    def in_place(self) -> InPlace[Destination]:
        opts = self.opts
        return InPlace(
            data=DataDir(self.data_dir, opts.os_user, opts.service, self.serving, self.foreign),
            choose=lambda request, live: destination.choose(opts, self.repo, request),
            fill=self.fill,
            start=self.start,
            wait=Wait(
                "wait until the server has loaded its data",
                opts.restore_time_limit_seconds,
                partial(recovery.state, opts),
                partial(recovery.last_words, opts),
            ),
            opened=(
                "make the server a primary, whatever it followed before",
                partial(recovery.open_, opts),
            ),
            sound=(
                "verify that the server came up with the restored data and keeps them",
                partial(recovery.sound, opts),
            ),
            receives=partial(recovery.receives, opts),
        )

    def serving(self) -> int | None:
        return next(iter(processes.working_in(self.data_dir)), None)

    def foreign(self) -> str | None:
        for name in sorted(path.name for path in self.data_dir.iterdir()):
            if name not in _OWN and not name.startswith(_TEMPORARY):
                return f"holds {name!r}, which is not Redis' own"
        return None

    def fill(self, way: Destination, kept: str) -> Plan:
        data_dir, what = self.data_dir, "base and log" if way.log is not None else "base"
        title = f"fetch {what} of {way.backup_id} into {data_dir}, to {way.words} ({kept})"
        steps = [watched(title, partial(self.fetch, way))]
        if way.until is not None and way.log is not None:
            steps.append(Action(f"cut the log after {way.words}", partial(self.cut, way)))
        steps.append(Action("let check-aof read every file", self.check))
        if self.opts.purpose == "cache":
            title = "make dump.rdb of the append-only files, which a cache does not read"
            steps.append(Action(title, partial(refill.to_snapshot, self.opts, data_dir, self.user)))
        return steps

    def fetch(self, way: Destination, tell: OnLine) -> None:
        refill.fetch(self.repo, way, self.data_dir, self.user, tell)
        refill.same_base(self.data_dir, way.full)

    def cut(self, way: Destination) -> None:
        assert way.until is not None
        refill.cut(self.opts, self.data_dir, way.until, capture)
        refill.own(self.data_dir, self.user, linked=False)

    def check(self) -> None:
        refill.check(self.opts, self.data_dir, capture)
        refill.own(self.data_dir, self.user, linked=False)

    def start(self, way: Destination, kept: str) -> Plan:
        service = self.opts.require("service")
        return (Command(("systemctl", "start", "--no-block", service), title="start the service"),)
