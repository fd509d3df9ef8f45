"""MariaDB's and MySQL's answers to a restore in place.

Binary log that only this member has is replayed, too. What is *not* here: the order of the steps
(:mod:`dbops.restore.plan`), which backup and point (:mod:`.destination`), and what is done with the
restored files (:mod:`.recovery`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dbops import files
from dbops.contract import Progress, RestoreRequest
from dbops.engines.mysql import destination, flavor, options, private_server, recovery, refill
from dbops.engines.mysql.destination import Work
from dbops.engines.mysql.options import Options
from dbops.repository import catalogue
from dbops.restore import plan, serving
from dbops.restore.inplace import DataDir, InPlace
from dbops.runner import Action, Command, Plan, watched
from dbops.targets import Target

_FETCHED_TO = ".restore"
UNFINISHED = ".unfinished"
"""Ends the name of the file beside a data directory that no unit and no play starts."""
_PROGRAMS = ("mariadbd", "mysqld")
_OWN = ("ibdata1", "mysql", "backup-my.cnf", "aria_log_control")


def plan_restore(target: Target, request: RestoreRequest) -> Plan:
    """Return the steps of a restore, or refuse, as :func:`dbops.restore.plan.plan` does."""
    return plan.plan(target, request, _in_place(target))


def plan_discard(target: Target) -> Plan:
    """Return what removes replaced data, as :func:`dbops.restore.plan.discard` does."""
    return plan.discard(target, _in_place(target))


def running_process(data_dir: Path) -> int | None:
    """Return the server's process that works in ``data_dir``, None when none does."""
    return next(iter(serving.working_in(data_dir, _PROGRAMS)), None)


def _in_place(target: Target) -> InPlace[Work]:
    options.require_part(target, "member")
    opts = options.read(target)
    data_dir = opts.require_path("data_dir")
    return _Member(target, opts, data_dir).in_place()


@dataclass(frozen=True)
class _Member:
    target: Target
    opts: Options
    data_dir: Path

    @property
    def beside(self) -> Path:
        """Where the binary log is brought, and the servers of a restore run."""
        return self.data_dir.with_name(self.data_dir.name + _FETCHED_TO)

    @property
    def mark(self) -> Path:
        """What says that the data directory is not whole."""
        return self.data_dir.with_name(self.data_dir.name + UNFINISHED)

    def in_place(self) -> InPlace[Work]:
        opts = self.opts
        return InPlace(
            data=DataDir(
                self.data_dir,
                opts.os_user,
                opts.service,
                partial(running_process, self.data_dir),
                self.foreign,
                self.outside,
                self.beside,
            ),
            choose=self.choose,
            before=self.before,
            fill=self.fill,
            start=self.start,
            sound=(
                "verify that the server answers and that the heartbeat can be read",
                partial(recovery.sound, opts),
            ),
            receives=partial(recovery.receives, opts),
            position=lambda work: work.done[-1] if work.done else None,
            explain=recovery.explain,
        )

    def foreign(self) -> str | None:
        if self.mark.exists() or any((self.data_dir / name).exists() for name in _OWN):
            return None
        return f"holds files and is not a {flavor.named(self.opts.flavor).title} data directory"

    def outside(self) -> str | None:
        links = [path.name for path in self.data_dir.iterdir() if path.is_symlink()]
        return f"data outside itself (the link {links[0]!r})" if links else None

    def choose(self, request: RestoreRequest, live: bool) -> Work:
        repo = catalogue.open_repository(self.target, self.opts)
        own = destination.own_files(self.data_dir, self.target.member)
        way = destination.choose(repo, request, own, live)
        kind = flavor.named(self.opts.flavor)
        made_by, here = way.manifest.version, private_server.version(kind)
        plan.require_version(way.manifest.backup_id, kind.title, made_by, here)
        return Work(repo, way, self.beside)

    def before(self, work: Work) -> Plan:
        title = f"fetch the binary log to {work.log} and find {work.way.words} in it"
        return (watched(title, partial(fetch, work)),)

    def fill(self, work: Work, kept: str) -> Plan:
        names = ", ".join(entry.backup_id for entry in work.way.entries)
        title = f"restore {names} to {self.data_dir} and prepare it ({kept})"
        words = f"A restore of {names} did not end, or is running: nothing starts this data.\n"
        return (
            Action(
                f"note in {self.mark} that nothing may start it yet",
                partial(files.write, self.mark, words, shared=True),
            ),
            watched(title, partial(self.put_back, work)),
        )

    def put_back(self, work: Work, tell: Progress) -> None:
        place, limit = recovery.place(self.opts, work), self.opts.restore_time_limit_seconds
        refill.put_back(work.repo, work.way, place, work.folder, limit, tell)

    def start(self, work: Work, kept: str) -> Plan:
        service = self.opts.service
        title = f"replay the binary log to {work.way.words} in a server of its own, and verify it"
        replay = watched(title, partial(recovery.replayed, self.opts, work, kept))
        whole = Action(f"remove {self.mark}", partial(self.mark.unlink, missing_ok=True))
        if service is None:
            return (replay, whole)
        return (replay, whole, Command(("systemctl", "start", service), title="start the service"))


def fetch(work: Work, tell: Progress) -> None:
    """Bring the log here and make the way exact, before anything is stopped or moved."""
    refill.make(work.folder, None)
    work.log.mkdir(mode=0o700)
    root = refill.fetch_log(work.repo, work.way, work.log, tell)
    work.way = destination.fetched(work.way, root)
    for file in work.way.chain.left_out:
        tell(f"{file.words} holds transactions of another branch: they are not replayed")
    tell(f"{work.way.chain.files} files of binary log, to {work.way.until or work.way.chain.end}")
