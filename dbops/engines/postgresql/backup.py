"""Taking a backup: pgBackRest, then the checks that it lacks, the fingerprint and the manifest.

pgBackRest is the repository here, with a catalogue and a retention of its own, so this does not go
through the frame of the restic engines (:mod:`dbops.backup.take`). What is *not* here: reading the
catalogue (:mod:`.catalogue`), verifying and expiring (:mod:`.retention`).
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import dbops
from dbops import files, status
from dbops.contract import BackupRequest, Progress
from dbops.engines.postgresql import (
    catalogue,
    client,
    fingerprint,
    options,
    pgbackrest,
    retention,
)
from dbops.engines.postgresql.client import Connection
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import Stanza, StoredBackup
from dbops.errors import (
    Busy,
    CommandFailed,
    ConfigError,
    DbopsError,
    Unreachable,
    VerificationFailed,
)
from dbops.manifest import Manifest
from dbops.repository import plausible
from dbops.repository.plausible import Size
from dbops.targets import Target

ARCHIVE_LIMIT_SECONDS = 120
ORPHAN_LIMIT_SECONDS = 120
_TYPES = {"full": "full", "differential": "diff", "incremental": "incr"}
_NEW_LABEL = re.compile(r"new backup label = (\S+)")


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take one backup, prove that it is plausible, and write its manifest beside it.

    Raises Busy when another runs, VerificationFailed when the backup cannot be trusted. One that is
    suspiciously small is listed with its manifest all the same.
    """
    options.require_part(target, "repository")
    opts = options.read(target)
    with status.recorded(target, request.kind) as record:
        stanza = pgbackrest.info(opts)
        with client.connect(opts, role="primary", user=opts.backup_user) as primary:
            _same_version(opts, stanza, primary)
            if request.kind != "log":
                _names_fit(primary)
        if request.kind == "log":
            manifest = _archive_log(target, opts, stanza, progress)
        else:
            manifest = _take(target, opts, stanza, request, progress)
        record(manifest)
    retention.note_catalogue(target)
    return manifest


def _take(
    target: Target, opts: Options, before: Stanza, request: BackupRequest, progress: Progress
) -> Manifest:
    member, flags = _source(opts)
    progress(f"{request.kind} backup from {member}")
    label = _run(opts, (f"--type={_TYPES[request.kind]}", "--no-expire-auto", *flags), progress)
    stored = catalogue.choose(pgbackrest.info(opts), label)
    _whole(stored)
    asked = {"automatic": request.automatic, "accepted": request.accepted}
    manifest = _manifest(target, before, stored, member).model_copy(update=asked)
    file = catalogue.manifest_path(opts, label)
    if request.fingerprint:
        try:
            found = fingerprint.take(opts, target.state_dir, progress, stored.stop_lsn)
            _archive(opts, before, f"dbops_{label}", progress)
        except DbopsError as error:
            files.write(file, manifest.model_dump_json(indent=1), shared=True)
            raise type(error)(
                f"Backup {label} is complete and kept, but without a fingerprint: {error}"
            ) from None
        manifest = manifest.model_copy(update={"fingerprints": found})
    files.write(file, manifest.model_dump_json(indent=1), shared=True)
    try:
        size = Size(label, stored.size, request.accepted)
        plausible.require_size(size, retention.fulls(target, opts, before))
    except VerificationFailed:
        retention.note_catalogue(target)
        raise
    retention.expire_after_backup(target, opts, progress)
    return manifest


def _names_fit(primary: Connection) -> None:
    """Refuse database names that pgBackRest writes into its manifest and cannot read back.

    The backup would look complete and could never be restored. Seen with 2.45 for a line break;
    the other characters belong to the manifest's own grammar and are refused without a trial. A
    name that was given in another encoding than UTF-8 is no text here.
    """
    for row in primary.execute("SELECT textsend(datname::text) FROM pg_database").fetchall():
        try:
            row[0].decode()
        except UnicodeDecodeError:
            raise ConfigError(
                f"A backup with the database {row[0]!r} could not be proven: its name is not in "
                "UTF-8, so rename the database from one that is."
            ) from None
    rows = primary.execute(
        "SELECT datname FROM pg_database WHERE datname ~ '[\\n\\r=]' OR datname ~ '^[[#]'"
    ).fetchall()
    if rows:
        raise ConfigError(
            f"A backup with the database {str(rows[0][0])!r} could not be restored: pgBackRest's "
            "manifest cannot hold a name with a line break or '=', or one that begins with '[' or "
            "'#', so rename the database."
        )


def _run(opts: Options, flags: tuple[str, ...], progress: Progress) -> str:
    """Run ``pgbackrest backup``; wait when only a killed run's child still holds its lock."""
    end = time.monotonic() + ORPHAN_LIMIT_SECONDS
    while True:
        try:
            said = pgbackrest.ask(
                opts,
                "backup",
                "--log-level-console=info",
                *flags,
                timeout_seconds=None,
                progress=progress,
            )
        except Busy:
            if time.monotonic() > end:
                raise
            progress("another pgBackRest is ending")
            time.sleep(2)
            continue
        match = _NEW_LABEL.search(said)
        if match is None or not pgbackrest.LABEL.fullmatch(match[1]):
            raise VerificationFailed("pgBackRest ended well and yet named no new backup.")
        return match[1]


def _source(opts: Options) -> tuple[str, tuple[str, ...]]:
    """Return the member that pgBackRest will copy from, and the flags that this takes."""
    try:
        with client.connect(opts, role="standby", user=opts.backup_user) as connection:
            return fingerprint.member_name(opts, connection), ()
    except Unreachable:
        with client.connect(opts, role="primary", user=opts.backup_user) as connection:
            return fingerprint.member_name(opts, connection), ("--no-backup-standby",)


def _same_version(opts: Options, stanza: Stanza, primary: Connection) -> None:
    """Refuse early when the servers were upgraded and the stanza was not."""
    version = str(primary.info.server_version // 10000)
    if version != stanza.version:
        raise ConfigError(
            f"The servers run PostgreSQL {version} and the stanza {opts.stanza!r} was made for "
            f"{stanza.version}: run 'pgbackrest stanza-upgrade' on the repository host, then take "
            "a full backup."
        )


def _whole(stored: StoredBackup) -> None:
    if stored.error:
        raise VerificationFailed(
            f"Backup {stored.label} holds pages with wrong checksums: the data directory it was "
            "copied from is damaged; see pgBackRest's log for the pages."
        )
    least = min(stored.size, stored.read) if stored.kind == "full" else stored.size
    plausible.require_content(Size(stored.label, least))


def _manifest(target: Target, stanza: Stanza, stored: StoredBackup, member: str) -> Manifest:
    return Manifest.model_validate(
        {
            "engine": target.engine,
            "version": stanza.version,
            "cluster": target.cluster,
            "member": member,
            "backup_id": stored.label,
            "kind": stored.kind,
            "parent_id": stored.prior,
            "start": stored.start,
            "stop": stored.stop,
            "start_point": stored.start_lsn,
            "stop_point": stored.stop_lsn,
            "bytes_read": stored.read,
            "bytes_stored": stored.stored,
            "encrypted": stanza.encrypted,
            "tool": "pgbackrest",
            "tool_version": stored.tool_version,
            "dbops_version": dbops.__version__,
        }
    )


def _archive(opts: Options, stanza: Stanza, name: str, progress: Progress) -> tuple[str, str, str]:
    """Close the current WAL segment and wait until it is kept; return member, segment and LSN."""
    archive = stanza.archive()
    if archive is None:
        raise ConfigError("The stanza has no archive yet: take a full backup first.")
    with client.connect(opts, role="primary", user=opts.backup_user) as connection:
        member = fingerprint.member_name(opts, connection)
        connection.execute("SELECT pg_create_restore_point(%s)", [name])
        row = connection.execute(
            "SELECT pg_walfile_name(lsn), lsn::text FROM pg_switch_wal() AS lsn"
        ).fetchall()[0]
    segment, position = str(row[0]), str(row[1])
    progress(f"waiting until {segment} is archived")
    end = time.monotonic() + ARCHIVE_LIMIT_SECONDS
    while segment not in pgbackrest.segments(opts, archive.archive_id, segment[:16]):
        if time.monotonic() > end:
            raise CommandFailed(
                f"WAL segment {segment} did not reach the repository within "
                f"{ARCHIVE_LIMIT_SECONDS} s: look at the archiver's log on {member}."
            )
        time.sleep(0.3)
    return member, segment, position


def _archive_log(target: Target, opts: Options, stanza: Stanza, progress: Progress) -> Manifest:
    start = datetime.now(UTC)
    name = f"dbops_log_{start:%Y%m%dT%H%M%SZ}"
    member, segment, position = _archive(opts, stanza, name, progress)
    stored = pgbackrest.segments(opts, _archive_id(stanza), segment[:16])[segment]
    backup = StoredBackup(
        label=segment,
        kind="log",
        prior=None,
        start=start,
        stop=datetime.now(UTC),
        start_lsn=position,
        stop_lsn=position,
        start_segment=segment,
        stop_segment=segment,
        size=stored.size,
        read=0,
        stored=stored.size,
        error=False,
        tool_version=stanza.backups[-1].tool_version if stanza.backups else "",
        database_id=0,
    )
    return _manifest(target, stanza, backup, member)


def _archive_id(stanza: Stanza) -> str:
    archive = stanza.archive()
    return archive.archive_id if archive else ""
