"""A second engine that keeps the contract honest: all in memory and files, no server.

``ENGINE`` can do everything, steered by ``target.options``: ``broken`` makes checks,
verification and drills fail, ``hang_seconds`` makes ``collect`` wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from dbops.contract import (
    Backup,
    BackupRequest,
    Catalogue,
    Check,
    Control,
    DrillRequest,
    DrillResult,
    Engine,
    MigratedDatabase,
    MigrateStep,
    Migration,
    Progress,
    RecoveryWindow,
    Sample,
    VerifyResult,
)
from dbops.drill.isolation import Cell
from dbops.drill.run import run
from dbops.drill.trial import Newest, Supply, Trial
from dbops.errors import ConfigError
from dbops.manifest import DatabaseFingerprint, Fingerprint, Kind, Manifest, TableFingerprint
from dbops.runner import Action, Command, Plan
from dbops.targets import Target
from tests.contract import fake_member

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 5, 1, 12, 5, tzinfo=UTC)


def check(target: Target) -> Iterator[Check]:
    yield Check("server", True)
    if target.options.get("broken"):
        yield Check("archive", False, "3 files wait", "see whether the repository is up")


def audit(target: Target) -> Sequence[Control]:
    failing = bool(target.options.get("broken"))
    return [
        Control("FK-01", "A control", "fail" if failing else "pass", "detail"),
        Control("FK-02", "Another", "waived", "", "because the owner said so"),
    ]


def _manifest(target: Target, kind: Kind, fingerprints: tuple[Fingerprint, ...]) -> Manifest:
    return Manifest(
        engine="fake",
        version=target.version,
        cluster=target.cluster,
        member=target.member,
        backup_id="B1",
        kind=kind,
        parent_id=None,
        start=NOON,
        stop=LATER,
        start_point="1",
        stop_point="2",
        bytes_read=4096,
        bytes_stored=1024,
        encrypted=True,
        tool="fake",
        tool_version="1",
        dbops_version="0",
        fingerprints=fingerprints,
    )


def catalogue(target: Target) -> Catalogue:
    manifest = _manifest(target, "full", tuple(fingerprint(target, lambda text: None)))
    backups = (
        Backup("B1", "full", NOON, LATER, 4096, 1024, None, True, False, manifest),
        Backup("B2", "incremental", NOON, LATER, 10, 5, "B1", True, False),
    )
    gaps = ((NOON, LATER),) * int(target.options.get("gaps", 0))
    doubt = "It is small." if target.options.get("broken") else None
    return Catalogue(backups, RecoveryWindow(NOON, LATER, gaps), doubt)


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    progress("copying")
    taken = tuple(fingerprint(target, progress)) if request.fingerprint else ()
    asked = {"automatic": request.automatic, "accepted": request.accepted}
    return _manifest(target, request.kind, taken).model_copy(update=asked)


def verify(target: Target, progress: Progress) -> VerifyResult:
    problems = ("base/1: checksum differs",) if target.options.get("broken") else ()
    return VerifyResult(3, problems)


def plan_expire(target: Target, backup_id: str | None) -> Plan:
    if backup_id not in {None, "B1"}:
        raise ConfigError(f"No backup {backup_id!r} of {target.cluster!r}.")
    return [Command(("/bin/true", backup_id or "all"), title="expire")]


def plan_salvage(target: Target) -> Plan:
    return [Action("archive the last log", lambda: None)]


def fingerprint(target: Target, progress: Progress) -> Sequence[Fingerprint]:
    rows = int(target.options.get("rows", 7))
    table = TableFingerprint(name="public.t", rows=rows, checksum=f"{rows:x}")
    return [
        Fingerprint(
            algorithm="fake-1",
            point="2",
            taken_at=LATER,
            seconds=0.1,
            bytes_read=100,
            databases=(DatabaseFingerprint(database="app", tables=(table,)),),
        )
    ]


class Open(Cell):
    """A cell that is none: nothing is started in it."""

    def prove(self) -> str:
        return "nothing runs"


def trial(target: Target) -> Trial[Manifest]:
    """Return the answers to a drill, all good; its scratch folder is real."""
    scratch = target.state_dir / "scratch"
    manifest = _manifest(target, "full", tuple(fingerprint(target, lambda text: None)))

    def known(backup_id: str | None) -> str:
        if backup_id not in {None, "B1"}:
            raise ConfigError(f"No backup {backup_id!r} in the catalogue (newest: B1).")
        return "B1"

    def choose(backup_id: str) -> Supply[Manifest]:
        known_at = LATER + timedelta(seconds=2)
        return Supply("no log", manifest.fingerprints, 4096, known_at, manifest)

    def ready(way: Manifest) -> None:
        scratch.mkdir(parents=True)
        (scratch / ".dbops-scratch").touch()

    @contextmanager
    def to_point(way: Manifest, expected: Fingerprint, progress: Progress) -> Iterator[str]:
        yield expected.point

    def content(
        way: Manifest, expected: Fingerprint, progress: Progress
    ) -> tuple[Fingerprint, Fingerprint]:
        rows = 6 if target.options.get("broken") else 7
        altered = target.model_copy(update={"options": {**target.options, "rows": rows}})
        return expected, fingerprint(altered, progress)[0]

    return Trial(
        cell=Open("nobody", (), scratch),
        algorithms=("fake-1",),
        known=known,
        choose=choose,
        ready=ready,
        fill=(("restore", lambda way, progress: 4096), ("log", lambda way, progress: "no gap")),
        to_point=to_point,
        content=content,
        newest=lambda way, progress: Newest("up to 2", lambda: LATER),
        proofs=(("pages", lambda: "1 page"),),
        end=lambda: None,
    )


def run_drill(target: Target, request: DrillRequest, progress: Progress) -> DrillResult:
    return run(target, request, progress, trial(target))


def heartbeat(target: Target, stop: Callable[[], bool]) -> None:
    while not stop():
        time.sleep(0.01)


def collect(target: Target) -> Iterator[Sample]:
    yield Sample("dbops_role", 1, (("role", "primary"),), "The role held.")
    time.sleep(float(target.options.get("hang_seconds", 0)))
    yield Sample("dbops_up", 1, (), "Whether the server answers.")
    yield Sample("dbops_replication_lag_seconds", 1.5, (), "Lag.")
    yield Sample("dbops_replication_lag_seconds_known", 1, (), "Whether it was measured.")
    yield Sample("dbops_backup_last_success_timestamp_seconds", NOON.timestamp(), ())


def plan_migrate(target: Target, step: MigrateStep) -> Plan:
    return [Action(f"{step} the databases", lambda: None)]


def migration(target: Target) -> Migration:
    return Migration((MigratedDatabase("app", True, False, 3, 2, 0, 4096),), proven_at=NOON)


ENGINE = Engine(
    name="fake",
    title="Fake",
    default_port=1,
    check=check,
    audit=audit,
    catalogue=catalogue,
    take_backup=take_backup,
    verify=verify,
    plan_expire=plan_expire,
    plan_restore=fake_member.plan_restore,
    plan_salvage=plan_salvage,
    plan_discard=fake_member.plan_discard,
    fingerprint=fingerprint,
    run_drill=run_drill,
    heartbeat=heartbeat,
    collect=collect,
    plan_migrate=plan_migrate,
    migration=migration,
)

BARE = Engine(name="bare", title="Bare", default_port=2, ansible_verbs=())
