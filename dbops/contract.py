"""The contract: what an engine is to dbops. One frozen record of typed functions per engine.

``None`` says that the engine cannot; the support table is printed from it. A function named
``plan_*`` returns steps for :mod:`dbops.runner` and changes nothing. Every other function only
reads, except ``run_drill`` and ``take_backup``, whose order of steps depends on what earlier ones
found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from dbops.manifest import Difference, Fingerprint, Kind, Manifest, Omission
from dbops.runner import Plan
from dbops.targets import Target

Progress = Callable[[str], None]
"""Told in a few words what is being done now."""


@dataclass(frozen=True)
class Check:
    """One line of ``dbops check``: ``hint`` says what to do when ``ok`` is false."""

    name: str
    ok: bool
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Control:
    """One hardening control and how this host stands to it. ``control_id`` is stable: ``PG-07``."""

    control_id: str
    title: str
    status: Literal["pass", "fail", "waived", "not applicable"]
    detail: str = ""
    reason: str = ""


@dataclass(frozen=True)
class BackupRequest:
    """What ``dbops backup take`` was asked for; without ``fingerprint`` content is unrecorded.

    ``automatic`` says that neither a person nor the schedule asked: retention does not count it.
    ``accepted`` says that less than half of the former data is right.
    """

    kind: Kind
    fingerprint: bool = True
    automatic: bool = False
    accepted: bool = False


@dataclass(frozen=True)
class Backup:
    """One restorable backup in the catalogue. ``manifest`` is None for one not taken by dbops."""

    backup_id: str
    kind: Kind
    start: datetime
    stop: datetime
    bytes_read: int
    bytes_stored: int
    parent_id: str | None
    encrypted: bool
    error: bool
    manifest: Manifest | None = None


@dataclass(frozen=True)
class RecoveryWindow:
    """The times to which a restore can go: from the oldest backup's end to the newest log kept.

    ``gaps`` are the times between them, oldest first, that no log covers.
    """

    oldest: datetime
    newest: datetime
    gaps: tuple[tuple[datetime, datetime], ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """Every complete backup, oldest first. A torn or failed one is never in it.

    ``doubt`` says why the newest full one is suspiciously small; None when it is not.
    """

    backups: tuple[Backup, ...]
    window: RecoveryWindow | None
    doubt: str | None = None


@dataclass(frozen=True)
class VerifyResult:
    """What reading back every stored file said. ``problems`` name the files; empty means sound."""

    files_checked: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class RestoreRequest:
    """Where a restore goes to: at most one of the points is given, none means the newest.

    ``point`` is the engine's own log position (an LSN, a GTID), ``name`` a named restore point.
    ``rehearsal`` says that the plan is only shown, so that a running server is in nobody's way.
    """

    backup_id: str | None = None
    time: datetime | None = None
    point: str | None = None
    name: str | None = None
    rehearsal: bool = False


@dataclass(frozen=True)
class DrillRequest:
    """What ``dbops drill run`` was asked for; None means the newest backup."""

    backup_id: str | None = None


@dataclass(frozen=True)
class DrillStep:
    """One step of a drill, its wall time, and whether the proof holds."""

    name: str
    ok: bool
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class DrillTable:
    """One table as expected and as restored."""

    database: str
    table: str
    rows_expected: int
    rows_found: int | None
    equal: bool


@dataclass(frozen=True)
class DrillResult:
    """The outcome of a drill. ``proven`` is true only if every step was done and held.

    ``rpo_seconds`` is the age of the newest heartbeat in the restored data when the drill began;
    ``rto_seconds`` is from the start of the restore until the restored server answered, without
    the time the proofs took. ``omitted`` names the content that was not compared: a proof does not
    speak of it.
    """

    engine: str
    cluster: str
    backup_id: str
    started_at: datetime
    finished_at: datetime
    proven: bool
    reason: str
    rpo_seconds: float | None
    rto_seconds: float | None
    rpo_objective_seconds: float
    rto_objective_seconds: float
    bytes_restored: int
    steps: tuple[DrillStep, ...] = ()
    tables: tuple[DrillTable, ...] = ()
    differences: tuple[Difference, ...] = ()
    omitted: tuple[Omission, ...] = ()


MigrateStep = Literal["prepare", "start", "prove", "switch", "follow", "finish"]
"""The steps of a migration, in order.

``prepare`` on both sides makes what the others need. On the receiving side ``start`` copies all and
goes on following, ``prove`` compares the content of both and ``switch`` moves the writers. On the
side that was left, ``follow`` keeps the way back. ``finish`` on both sides removes it all.
"""


@dataclass(frozen=True)
class MigratedDatabase:
    """How one database of a migration stands on this host.

    ``follows`` tells whether it receives from the other cluster, ``open`` whether applications may
    write to it here. ``tables`` are those it is to receive and ``copied`` those that follow by now.
    ``behind_bytes`` of log are written there and not yet here; None when that is not known.
    """

    database: str
    follows: bool
    open: bool
    tables: int
    copied: int
    errors: int
    behind_bytes: int | None


@dataclass(frozen=True)
class Migration:
    """How a migration stands, as seen from this host.

    ``proven_at`` is when the content last was found equal, and ``pause_seconds`` for how long the
    last switch to this cluster kept writers waiting.
    """

    databases: tuple[MigratedDatabase, ...]
    proven_at: datetime | None = None
    switched_at: datetime | None = None
    pause_seconds: float | None = None


@dataclass(frozen=True)
class MembersCompared:
    """How the replicas' content stood to the primary's, all at one ``point`` of its log.

    ``differences`` has an entry for each replica that was compared, empty when it is equal, and
    ``skipped`` says why another one was not.
    """

    primary: str
    point: str
    differences: Mapping[str, tuple[Difference, ...]]
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One metric sample: a gauge unless ``kind`` says otherwise."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    help: str = ""
    kind: Literal["gauge", "counter", "untyped"] = "gauge"


Verb = Literal[
    "provision", "secure", "replicate", "backup", "restore", "drill", "monitor", "migrate"
]
VERBS: tuple[Verb, ...] = get_args(Verb)


@dataclass(frozen=True)
class Engine:
    """One engine. The name is also its role, group, package, argument and metric label.

    ``ansible_verbs`` are the verbs that its role carries out without a Python function.
    ``compare_members`` is None where a replica is a copy of the primary's blocks or where nothing
    can fix the content of two members at one point.
    """

    name: str
    title: str
    default_port: int
    ansible_verbs: tuple[Verb, ...] = ("provision", "secure", "replicate")
    check: Callable[[Target], Iterable[Check]] | None = None
    audit: Callable[[Target], Sequence[Control]] | None = None
    catalogue: Callable[[Target], Catalogue] | None = None
    take_backup: Callable[[Target, BackupRequest, Progress], Manifest] | None = None
    verify: Callable[[Target, Progress], VerifyResult] | None = None
    plan_expire: Callable[[Target, str | None], Plan] | None = None
    plan_restore: Callable[[Target, RestoreRequest], Plan] | None = None
    plan_salvage: Callable[[Target], Plan] | None = None
    plan_discard: Callable[[Target], Plan] | None = None
    fingerprint: Callable[[Target, Progress], Sequence[Fingerprint]] | None = None
    compare_members: Callable[[Target, Progress], MembersCompared] | None = None
    run_drill: Callable[[Target, DrillRequest, Progress], DrillResult] | None = None
    heartbeat: Callable[[Target, Callable[[], bool]], None] | None = None
    collect: Callable[[Target], Iterable[Sample]] | None = None
    plan_migrate: Callable[[Target, MigrateStep], Plan] | None = None
    migration: Callable[[Target], Migration] | None = None

    def supports(self, verb: Verb) -> bool:
        """Tell whether this engine can ``verb``."""
        by_function: dict[Verb, object] = {
            "backup": self.take_backup,
            "restore": self.plan_restore,
            "drill": self.run_drill,
            "monitor": self.collect,
            "migrate": self.plan_migrate,
        }
        return verb in self.ansible_verbs or by_function.get(verb) is not None
