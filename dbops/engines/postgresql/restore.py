"""PostgreSQL's answers to a restore in place.

What is *not* here: the order of the steps (:mod:`dbops.restore.plan`), which backup and target
(:mod:`.destination`), and what the restored server is asked (:mod:`.recovery`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dbops import handles
from dbops.contract import RestoreRequest
from dbops.engines.postgresql import destination, options, pgbackrest, recovery
from dbops.engines.postgresql.destination import Destination
from dbops.engines.postgresql.options import Options
from dbops.errors import Refused
from dbops.restore import plan
from dbops.restore.inplace import DataDir, InPlace, Wait
from dbops.runner import Action, Command, Plan, capture
from dbops.targets import Target


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps of a restore, or refuse, as :func:`dbops.restore.plan.plan` does."""
    return plan.plan(target, request, _in_place(target))


def plan_discard(target: Target) -> Plan:
    """Return what removes replaced data, as :func:`dbops.restore.plan.discard` does."""
    return plan.discard(target, _in_place(target))


def running_process(data_dir: Path) -> int | None:
    """Return the process id of the server that runs on ``data_dir``, None when none does."""
    try:
        process = int((data_dir / "postmaster.pid").read_text(encoding="ascii").split("\n")[0])
        os.kill(process, 0)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    except PermissionError:
        raise Refused(f"{data_dir} may not be read by this account: run dbops as root.") from None
    except (ValueError, OSError, UnicodeDecodeError):
        raise Refused(
            f"{data_dir}/postmaster.pid is not readable: make sure that no server runs on it, "
            "then remove that file."
        ) from None
    return process if _is_server(process, data_dir) else None


def _is_server(process: int, data_dir: Path) -> bool:
    """A process id left by a crash may by now belong to something else."""
    try:
        return Path(f"/proc/{process}/cwd").resolve(strict=True) == data_dir.resolve()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _in_place(target: Target) -> InPlace[Destination]:
    options.require_part(target, "member")
    opts = options.read(target)
    return _Member(opts, opts.require_path("data_dir")).in_place()


@dataclass(frozen=True)
class _Member:
    opts: Options
    data_dir: Path

    @property
    def user(self) -> str | None:
        return self.opts.os_user if os.geteuid() == 0 else None

    def in_place(self) -> InPlace[Destination]:
        opts, data_dir = self.opts, self.data_dir
        serving = partial(running_process, data_dir)
        return InPlace(
            data=DataDir(data_dir, opts.os_user, opts.service, serving, self.foreign, self.outside),
            choose=self.choose,
            fill=self.fill,
            start=self.start,
            wait=Wait(
                "wait until the server has replayed its log and opens",
                opts.restore_time_limit_seconds,
                partial(recovery.state, opts),
                partial(recovery.last_words, opts),
            ),
            opened=(
                "remove the recovery settings from postgresql.auto.conf and settle the archiver",
                partial(recovery.tidy, opts),
            ),
            sound=(
                "verify that checksums are on and that the heartbeat can be read",
                lambda way: recovery.sound(opts),
            ),
            receives=partial(recovery.receives, opts),
            explain=recovery.explain,
        )

    def foreign(self) -> str | None:
        if any((self.data_dir / name).is_file() for name in ("PG_VERSION", "backup.manifest")):
            return None
        return "holds files and is not a PostgreSQL data directory"

    def outside(self) -> str | None:
        tablespaces = self.data_dir / "pg_tblspc"
        if tablespaces.is_dir() and any(tablespaces.iterdir()):
            return "tablespaces outside itself"
        return None

    def choose(self, request: RestoreRequest, live: bool) -> Destination:
        way = destination.choose(self.opts, request, live=live)
        binary = self.opts.require_path("bin_dir") / "postgres"
        said = capture(Command((str(binary), "--version"), timeout_seconds=30)).stdout
        match = re.search(r"PostgreSQL\) (\d+)", said)
        here = match[1] if match else "unknown"
        plan.require_version(way.backup_id, "PostgreSQL", way.version, here)
        self.refuse_taken(way.backup_id)
        return way

    def refuse_taken(self, backup_id: str) -> None:
        """Raise Refused where a tablespace would not find its directory empty, as it must."""
        for name, place in pgbackrest.tablespaces(self.opts, backup_id).items():
            try:
                taken = os.path.lexists(place) and bool(os.listdir(place))
            except NotADirectoryError:
                taken = True
            except PermissionError:
                raise Refused(
                    f"{place} may not be read by this account: run dbops as root."
                ) from None
            if taken:
                raise Refused(
                    f"Tablespace {name!r} of backup {backup_id} goes to {place}, which is not an "
                    "empty directory: move what is there away. Nothing was changed."
                )

    def fill(self, way: Destination, kept: str) -> Plan:
        data_dir = self.data_dir
        argv = (f"--pg1-path={data_dir}", f"--set={way.backup_id}", *way.flags)
        put_back = pgbackrest.command(self.opts, "restore", "--log-level-console=info", *argv)
        return (
            replace(
                put_back, title=f"pgBackRest restore of {way.backup_id} to {way.words} ({kept})"
            ),
            Command(
                ("chmod", "-R", "g+rX", str(data_dir)),
                title="let pgBackRest's server read it, which has the group",
                user=self.user,
            ),
            Action(
                f"remove standby.signal from {data_dir}, so that the server opens for writing",
                partial(handles.remove, data_dir / "standby.signal"),
            ),
            *self.whole(),
        )

    def whole(self) -> Plan:
        """A copy of the primary that did not end keeps the server from starting: this is none."""
        mark = options.unfinished(self.data_dir)
        if not os.path.lexists(mark):
            return ()
        return (Action(f"remove {mark}, as the data is whole now", partial(handles.remove, mark)),)

    def start(self, way: Destination, kept: str) -> Plan:
        service, data_dir = self.opts.service, self.data_dir
        if service is not None:
            begin = ("systemctl", "start", "--no-block", service)
            return (Command(begin, title="start the service"),)
        binary = self.opts.require_path("bin_dir") / "pg_ctl"
        argv = (str(binary), "start", "-W", "-s", "-D", str(data_dir), "-l", f"{data_dir}.log")
        return (Command(argv, title="start the server", user=self.user),)
