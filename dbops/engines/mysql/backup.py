"""Taking a backup: a member streams, the repository host stores, nothing lies on a disk between.

``start_point`` of a manifest is the redo position (LSN) from which an incremental backup goes on,
with the age of the data directory that it belongs to; ``stop_point`` is the GTID that the backup
restores to. What is *not* here: the stream's other end (:mod:`.stream`), the binary log
(:mod:`.archive`), the catalogue (:mod:`dbops.repository.catalogue`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import dbops
from dbops import files as writing
from dbops import lock, status
from dbops.contract import BackupRequest, Progress
from dbops.engines.mysql import (
    archive,
    chain,
    client,
    fingerprint,
    flavor,
    gtid,
    index,
    members,
    options,
)
from dbops.engines.mysql.flavor import Flavor, Said
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.options import Options
from dbops.errors import Busy, CommandFailed, ConfigError, DbopsError, VerificationFailed
from dbops.manifest import Kind, Manifest
from dbops.repository import catalogue, expiry, plausible, routes
from dbops.repository.plausible import Size
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Command
from dbops.targets import Target

LOG = "binlog"
_LOG_LOCK_SECONDS = 180.0


@dataclass(frozen=True)
class _Source:
    """The member to copy from. ``life`` tells its data directory from one restored later."""

    member: str
    version: str
    life: str


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take one backup, prove that it is plausible, and list it with its manifest.

    Raises VerificationFailed when the stream cannot be trusted: it is then not listed; and when the
    backup is suspiciously small: it then is.
    """
    options.require_part(target, "repository")
    opts = options.read(target)
    if request.kind != "log":
        require_kind(flavor.named(opts.flavor), request.kind)
    with status.recorded(target, request.kind) as record:
        repo = catalogue.open_repository(target, opts, remember=True)
        if request.kind == "log":
            manifest = ship_log(target, opts, repo, progress)
        else:
            manifest = _take(target, opts, repo, request, progress)
        record(manifest)
    return manifest


def require_kind(kind: Flavor, asked: str) -> None:
    """Raise ConfigError for a backup that the flavour's tool cannot make."""
    if asked in kind.streams:
        return
    others = [f"an {one} one" for one in kind.streams if one != "full"]
    instead = f"take {' or '.join(['a full one', *others])}"
    raise ConfigError(
        f"{kind.title} has no {asked} backup here: {instead}; the binary log goes on from the "
        "newest."
    )


def _take(
    target: Target, opts: Options, repo: Repository, request: BackupRequest, progress: Progress
) -> Manifest:
    with ThreadPoolExecutor(max_workers=1) as beside:
        reading = beside.submit(catalogue.known, repo, progress)
        parent = None
        if request.kind == "incremental":
            found = routes.without_logs(reading.result())
            source = _source(opts, found[-1].manifest.member if found else None)
            parent = _parent(found, source, progress)
        else:
            source = _source(opts)
        kind: Kind = "full" if parent is None else "incremental"
        progress(f"{kind} backup from {source.member}")
        manifest, snapshots = _store(target, opts, repo, source, kind, parent, progress)
        found = routes.without_logs(reading.result())
    size = Size(manifest.backup_id, manifest.bytes_read)
    plausible.require_content(size)
    trouble: DbopsError | None = None
    if request.fingerprint:
        try:
            manifest = _with_fingerprint(target, opts, source, manifest, progress)
        except DbopsError as error:
            trouble = error
    _list(target, opts, repo, Entry(manifest=manifest, snapshots=snapshots), found, progress)
    if trouble is not None:
        raise type(trouble)(
            f"Backup {manifest.backup_id} is complete and kept, but without a fingerprint: "
            f"{trouble}"
        )
    if kind == "full":
        plausible.require_size(size, routes.fulls(found))
    return manifest


def _source(opts: Options, prefer: str | None = None) -> _Source:
    member = members.source(opts, prefer)
    with client.remote(opts, opts.require_path("backup_file"), member) as connection:
        version = series(str(client.value(connection, "SELECT VERSION()")))
        return _Source(member, version, str(client.value(connection, flavor.of(connection).life)))


def series(version: str) -> str:
    """Return the release series of a version: ``10.11`` of ``10.11.6-MariaDB-log``."""
    return ".".join(version.split("-")[0].split(".")[:2])


def _parent(found: Sequence[Entry], source: _Source, progress: Progress) -> Entry | None:
    """Return what an incremental backup builds upon: the newest, if it is of the same data.

    Each member's redo log has positions of its own, and a restored one begins anew. Without a
    parent a full backup is taken, so that a switchover leaves no gap until the next planned one.
    """
    mine = [one for one in found if one.manifest.member == source.member]
    if not mine:
        why = f"there is no backup of {source.member} to build upon"
    elif mine[-1].manifest.version != source.version:
        why = f"{mine[-1].backup_id} is of version {mine[-1].manifest.version}"
    elif mine[-1].manifest.start_point.split("@")[-1] != source.life:
        why = f"the data of {source.member} were made anew since {mine[-1].backup_id}"
    else:
        return mine[-1]
    progress(f"{why}, so a full backup is taken")
    return None


def _store(
    target: Target,
    opts: Options,
    repo: Repository,
    source: _Source,
    kind: Kind,
    parent: Entry | None,
    progress: Progress,
) -> tuple[Manifest, dict[str, str]]:
    started = datetime.now(UTC)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        progress(line)

    asked = "full"
    if parent is not None:
        asked = f"incremental {parent.manifest.start_point.split('@')[0]}"
    producer = command(opts, source.member, f"{asked} zstd")
    spoken = flavor.named(opts.flavor)
    # restic would compress all of it anew each time, at a multiple of the cost.
    saved = repo.save_stream(producer, spoken.streams[kind], (kind, source.member), tell, "off")
    said = spoken.backup_log(lines)
    stop = datetime.now(UTC)
    position = _position(opts, source.member, said)
    manifest = Manifest(
        engine=target.engine,
        version=source.version,
        cluster=target.cluster,
        member=source.member,
        backup_id=routes.new_id(kind, stop, parent.backup_id if parent else None),
        kind=kind,
        parent_id=parent.backup_id if parent else None,
        start=started,
        stop=stop,
        start_point=f"{said.checkpoint}@{source.life}",
        stop_point=str(position),
        bytes_read=said.size,
        bytes_stored=saved.bytes_stored,
        encrypted=True,
        tool="restic",
        tool_version=repo.version(),
        dbops_version=dbops.__version__,
    )
    return manifest, {spoken.streams[kind]: saved.snapshot_id}


def _position(opts: Options, member: str, said: Said) -> Position:
    """Return the GTIDs that the data of a stream are at.

    mariadb-backup reads a place in the binary log and ``gtid_current_pos``, both while commits are
    blocked. On a replica the latter is set when a commit is over already, so it may lack the last
    transaction, which a replay would carry out twice. The place in the log is exact.
    """
    named = gtid.parse(said.position)
    if not said.file:
        return named
    with client.remote(opts, opts.require_path("backup_file"), member) as connection:
        query = "SELECT BINLOG_GTID_POS(%s, %s)"
        exact = client.value(connection, query, [said.file, said.offset])
    if exact is None:
        raise VerificationFailed(
            f"{member} cannot say which GTID its binary log is at in {said.file} at {said.offset}, "
            "where the backup ends: does it keep its log shorter than a backup takes?"
        )
    return named.joined(gtid.parse(str(exact)))


def command(opts: Options, member: str, asked: str) -> Command:
    """Return the command that makes ``member`` stream, as its forced command understands it."""
    address = opts.hosts.get(member)
    if address is None:
        raise ConfigError(f"No member {member!r} in the target's hosts: render the target again.")
    return Command(
        (
            "/usr/bin/ssh",
            "-F/dev/null",
            f"-i{opts.require_path('stream_key')}",
            "-oBatchMode=yes",
            "-oIdentitiesOnly=yes",
            "-oStrictHostKeyChecking=yes",
            f"-oUserKnownHostsFile={opts.require_path('stream_known_hosts')}",
            "-oConnectTimeout=10",
            "-oServerAliveInterval=15",
            "-oServerAliveCountMax=4",
            "-oLogLevel=ERROR",
            f"{opts.stream_user}@{address}",
            asked,
        ),
        title=f"the backup stream of {member}",
        user=opts.repo_user if os.geteuid() == 0 else None,
    )


def _with_fingerprint(
    target: Target, opts: Options, source: _Source, manifest: Manifest, progress: Progress
) -> Manifest:
    """Record the content just after the backup, and see that the log up to there is archived."""
    found = fingerprint.take(fingerprint.connector(opts, source.member), progress)
    start, point = gtid.parse(manifest.stop_point), gtid.parse(found.point)
    if not point.holds(start):
        raise CommandFailed(
            f"{source.member} stands at {point} and the backup at {start}: was it rebuilt just now?"
        )
    archive.wait(opts.require_path("binlog_dir"), start, point, progress)
    return manifest.model_copy(update={"fingerprints": (found,)})


def _list(
    target: Target,
    opts: Options,
    repo: Repository,
    new: Entry,
    found: Sequence[Entry],
    progress: Progress,
) -> None:
    """List a backup with the log up to now: in one go, unless a log backup is running."""
    # With nothing known the catalogue may be damaged: what older backups need must stay for now.
    backups = [*found, new] if found else []
    try:
        with lock.hold(target, "log backup"):
            log, files = _stored_log(target, opts, repo, backups, progress)
            forgotten = _add(target, opts, repo, [new, log], progress)
    except Busy:
        forgotten = _add(target, opts, repo, [new], progress)
        with lock.hold(target, "log backup", _LOG_LOCK_SECONDS):
            ship_log(target, opts, repo, progress)
    except DbopsError:
        catalogue.add(target, repo, new)
        raise
    else:
        chain.follow(files, gtid.parse(new.manifest.stop_point))
    expiry.give_back(target, repo, forgotten, progress)
    status.note_catalogue(target, catalogue.catalogue(repo), True)


def _add(
    target: Target, opts: Options, repo: Repository, new: Sequence[Entry], progress: Progress
) -> bool:
    return expiry.add(target, repo, new, opts.keep_full, progress)


def ship_log(target: Target, opts: Options, repo: Repository, progress: Progress) -> Manifest:
    """Store the archived binary log and its list, and remove what no backup needs any more.

    What is there is stored in any case; then VerificationFailed names a file that is missing.
    """
    found = routes.without_logs(catalogue.entries(repo))
    log, files = _stored_log(target, opts, repo, found, progress)
    catalogue.add(target, repo, log)
    status.note_catalogue(target, catalogue.catalogue(repo), True)
    if found:
        chain.follow(files, gtid.parse(found[-1].manifest.stop_point))
    return log.manifest


def _stored_log(
    target: Target, opts: Options, repo: Repository, backups: Sequence[Entry], progress: Progress
) -> tuple[Entry, list[chain.File]]:
    """Store the archived log and its list, not yet in the catalogue; return what was stored."""
    root = opts.require_path("binlog_dir")
    started = datetime.now(UTC)
    damaged: dict[str, str] = {}
    files = archive.survey(root, target.state_dir / index.NAME, damaged)
    for member, words in damaged.items():
        progress(f"{words} It is fetched anew; the log of {member} ends before it until then.")
    if not files:
        raise VerificationFailed(
            f"No binary log has come to {root}: look at the units dbops-binlog-{target.cluster}@*."
        )
    if backups:
        oldest = gtid.parse(backups[0].manifest.stop_point)
        gone = archive.superseded(files, root, oldest)
        archive.tidy(gone)
        files = [file for file in files if file.summary.path not in set(gone)]
    listing = root / index.NAME
    writing.write(listing, index.write(files, root), shared=True)
    saved = repo.save_paths((root,), tags=("log",), progress=progress)
    manifest = _log_manifest(target, repo, files, started, saved.bytes_read, saved.bytes_stored)
    snapshots = {LOG: saved.snapshot_id, str(listing): saved.snapshot_id}
    return Entry(manifest=manifest, snapshots=snapshots), files


def _log_manifest(
    target: Target,
    repo: Repository,
    files: Sequence[chain.File],
    started: datetime,
    read: int,
    stored: int,
) -> Manifest:
    newest = max(files, key=lambda file: (file.summary.last_at, chain.reach(file)))
    oldest = min(files, key=lambda file: file.summary.begun_at)
    return Manifest(
        engine=target.engine,
        version=target.version,
        cluster=target.cluster,
        member=newest.member,
        backup_id=f"{started:%Y%m%d-%H%M%S}L",
        kind="log",
        parent_id=None,
        start=started,
        stop=newest.summary.last_at,
        start_point=str(oldest.summary.before),
        stop_point=str(newest.summary.after),
        bytes_read=read,
        bytes_stored=stored,
        encrypted=True,
        tool="restic",
        tool_version=repo.version(),
        dbops_version=dbops.__version__,
    )
