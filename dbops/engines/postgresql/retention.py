"""Reading back what is stored, and letting old backups go, never the last good one."""

from __future__ import annotations

from dbops import status
from dbops.contract import Progress, VerifyResult
from dbops.engines.postgresql import catalogue, options, pgbackrest, wal
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import Archive, Stanza, StoredBackup
from dbops.errors import DbopsError, Refused
from dbops.lock import hold
from dbops.repository import plausible
from dbops.repository.plausible import Full
from dbops.repository.retention import DAY_SECONDS, Policy, oldest_kept
from dbops.runner import Action, Plan
from dbops.targets import Target


def verify(target: Target, progress: Progress) -> VerifyResult:
    """Read back every stored file and look for holes in the log; record which backups are sound."""
    options.require_part(target, "repository")
    opts = options.read(target)
    with hold(target, "verify"):
        said = pgbackrest.ask(
            opts,
            "verify",
            "--log-level-console=info",
            "--output=text",
            "--verbose",
            timeout_seconds=None,
            progress=progress,
        )
        files, problems = pgbackrest.parse_verify(said)
        stanza = pgbackrest.info(opts)
        problems += tuple(_own_problems(target, opts, stanza))
        result = VerifyResult(files_checked=files, problems=problems)
        status.note_verified(target, result, sound_backups(stanza, problems))
    return result


def _own_problems(target: Target, opts: Options, stanza: Stanza) -> list[str]:
    problems = []
    for backup in stanza.backups:
        if backup.error:
            problems.append(
                f"backup {backup.label} holds pages that were damaged when it was taken"
            )
        try:
            catalogue.read_manifest(target, opts, backup.label)
        except DbopsError as error:
            problems.append(str(error))
    for archive in stanza.archives:
        hole = hole_after_oldest(opts, stanza, archive)
        if hole is not None:
            problems.append(f"WAL segment {hole} is missing from the archive {archive.archive_id}")
    return problems


def hole_after_oldest(opts: Options, stanza: Stanza, archive: Archive) -> str | None:
    """Return the first segment missing since the oldest backup of one generation."""
    backups = [b for b in stanza.backups if b.database_id == archive.database_id]
    return find_hole(opts, archive, backups[0].start_segment) if backups else None


def find_hole(opts: Options, archive: Archive, start: str) -> str | None:
    """Return the first segment missing between ``start`` and the newest on the newest timeline."""
    found = pgbackrest.segments(opts, archive.archive_id)
    if not found:
        return start
    timeline = pgbackrest.latest_timeline(opts, archive.archive_id, found)
    ancestors = pgbackrest.history(opts, archive.archive_id, timeline)
    return wal.first_hole(found, start, timeline, ancestors)


def sound_backups(stanza: Stanza, problems: tuple[str, ...]) -> list[str]:
    """Return the backups that no problem names, directly or through one that they build upon."""
    if any("for the stanza" in problem for problem in problems):
        return []
    bad = {b.label for b in stanza.backups if any(b.label in problem for problem in problems)}
    return [
        b.label
        for b in stanza.backups
        if b.label not in bad and not bad.intersection((*b.references, b.prior or ""))
    ]


def plan_expire(target: Target, backup_id: str | None) -> Plan:
    """Return the steps that expire one backup and what builds upon it, or what retention lets go.

    Raises Refused when that would leave no full backup, or none that was verified, and of retention
    while the newest full backup is suspiciously small.
    """
    options.require_part(target, "repository")
    opts = options.read(target)
    stanza = pgbackrest.info(opts)
    if backup_id is None:
        flags = _flags(_retained(target, opts, stanza))
        retained = pgbackrest.command(opts, "expire", *flags, timeout_seconds=3600)
        return (retained, _noted(target))
    chosen = catalogue.choose(stanza, backup_id)
    going = {b.label for b in stanza.backups if chosen.label in (b.label, *b.references)}
    _keep_one(target, stanza, going)
    # Log is counted in full backups: left to itself, pgBackRest would take the log from between the
    # older ones when there are more than retention keeps.
    fulls = [b for b in stanza.backups if b.kind == "full" and b.label not in going]
    keep = f"--repo1-retention-archive={len(fulls)}"
    command = pgbackrest.command(
        opts, "expire", f"--set={chosen.label}", keep, timeout_seconds=3600
    )
    return (command, _noted(target))


def _noted(target: Target) -> Action:
    return Action("write down what is left", lambda: note_catalogue(target))


def _keep_one(target: Target, stanza: Stanza, going: set[str]) -> None:
    staying = [b for b in stanza.backups if b.label not in going]
    if going and not any(_whole(backup) for backup in staying):
        raise Refused(
            f"{', '.join(sorted(going))} would leave no full backup: take a full one first."
        )
    known = {b.label for b in stanza.backups}
    verified = known.intersection(status.read(target)["verify"].get("sound", ()))
    if verified and verified <= going:
        raise Refused(
            f"{', '.join(sorted(verified))} would leave no verified backup: "
            "run 'dbops backup verify' after the next backup, then expire."
        )


def fulls(target: Target, opts: Options, stanza: Stanza) -> list[Full]:
    """Return the whole full backups of a stanza, and what retention asks of each."""
    return catalogue.fulls(stanza, catalogue.read(target, opts, stanza).backups)


def _whole(backup: StoredBackup) -> bool:
    return backup.kind == "full" and not backup.error


def _retention_would_expire(opts: Options, stanza: Stanza) -> set[str]:
    said = pgbackrest.ask(
        opts, "expire", "--dry-run", "--log-level-console=info", timeout_seconds=600
    )
    lines = [line for line in said.splitlines() if "expire" in line and "backup" in line]
    named = {label for line in lines for label in pgbackrest.LABEL.findall(line)}
    return {b.label for b in stanza.backups if b.label in named or named.intersection(b.references)}


def _retained(target: Target, opts: Options, stanza: Stanza) -> int:
    """Return how many full backups pgBackRest is to keep, counting all that there are.

    pgBackRest counts every one; here those count that :mod:`dbops.repository.retention` counts, so
    what has to stay for them is counted, too. How many is declared to pgBackRest: when it would let
    any go, as many as it leaves. Raises Refused when nothing may go.
    """
    every = [backup.label for backup in stanza.backups if backup.kind == "full"]
    here = fulls(target, opts, stanza)
    words = plausible.doubt(here)
    if words is not None:
        raise Refused(words)
    keep = len(set(every) - _retention_would_expire(opts, stanza))
    period = opts.schedule_interval_seconds.get("full") or DAY_SECONDS
    oldest = oldest_kept(here, Policy(keep, period))
    old = every[: every.index(oldest)] if oldest else []
    _keep_one(
        target, stanza, {b.label for b in stanza.backups if {b.label, *b.references} & {*old}}
    )
    return len(every) - len(old)


def _flags(retained: int) -> tuple[str, ...]:
    return "--repo1-retention-full-type=count", f"--repo1-retention-full={max(1, retained)}"


def expire_after_backup(target: Target, opts: Options, progress: Progress) -> None:
    """Let retention act now that a new backup is complete, unless no verified one would stay."""
    stanza = pgbackrest.info(opts)
    try:
        flags = _flags(_retained(target, opts, stanza))
    except Refused as refusal:
        progress(f"nothing expired: {refusal}")
        return
    pgbackrest.ask(opts, "expire", *flags, timeout_seconds=3600)


def note_catalogue(target: Target) -> None:
    """Write down what the catalogue holds now, for whoever may not read the repository."""
    opts = options.read(target)
    stanza = pgbackrest.info(opts)
    status.note_catalogue(target, catalogue.read(target, opts, stanza), stanza.encrypted)
