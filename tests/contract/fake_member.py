"""The fake engine's answers to a restore in place: its server is a file in a real folder."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from dbops.contract import RestoreRequest
from dbops.restore import plan
from dbops.restore.inplace import DataDir, InPlace, Wait
from dbops.runner import Action, Command, Plan
from dbops.targets import Target

SERVER = 4711
ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name


@dataclass(frozen=True)
class Way:
    """Where a restore of the fake engine goes."""

    request: RestoreRequest
    backup_id: str = "B1"
    room: int = 4096


def in_place(target: Target) -> InPlace[Way]:
    """Return the answers to a restore, all good; its data directory is real."""
    data = target.state_dir / "data"
    server, fetched = data / "server", target.state_dir / "data.fetched"

    def start() -> None:
        if not (data / "rows").exists() or not fetched.is_dir():
            raise AssertionError("the server was started before there was anything to serve")
        server.touch()

    def fill(way: Way, kept: str) -> Plan:
        words = str(way.request.time or way.request.point or "newest")
        return (
            Command(("/bin/echo", "restoring", words)),
            Action(f"write rows ({kept})", (data / "rows").touch),
            Action("leave a mark", (target.state_dir / "restored").touch),
        )

    return InPlace(
        data=DataDir(
            path=data,
            account=ACCOUNT,
            service=None,
            serving=lambda: SERVER if server.exists() else None,
            foreign=lambda: None,
            outside=lambda: None,
            beside=fetched,
        ),
        choose=lambda request, live: Way(request),
        before=lambda way: (Action("fetch the log", lambda: fetched.mkdir(parents=True)),),
        fill=fill,
        start=lambda way, kept: (Action("start the server", start),),
        wait=Wait("wait until it answers", 5, lambda: None, lambda: ""),
        opened=("open it", lambda: None),
        sound=("verify that it is sound", lambda way: None),
        receives=lambda: None,
        position=lambda way: "2",
    )


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    return plan.plan(target, request, in_place(target))


def plan_discard(target: Target) -> Plan:
    return plan.discard(target, in_place(target))
