"""Taking a backup: a member streams, the repository host stores, nothing lies on a disk between.

``start_point`` of a manifest is the redo position (LSN) from which an incremental backup goes on,
with the age of the data directory that it belongs to; ``stop_point`` is the GTID that the backup
restores to. What is *not* here: the order of steps (:mod:`dbops.backup.take`), the stream's other
end (:mod:`.stream`), the binary log (:mod:`.archive`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from dbops import files as writing
from dbops.backup.copying import Copying, Facts, Log, Stream
from dbops.backup.take import take
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
from dbops.engines.mysql.catalogue import STORE
from dbops.engines.mysql.flavor import Said
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.options import Options
from dbops.errors import CommandFailed, ConfigError, VerificationFailed
from dbops.manifest import Fingerprint, Manifest
from dbops.repository.restic import Repository, Saved
from dbops.repository.routes import Entry
from dbops.runner import Command
from dbops.targets import Target

LOG = "binlog"


@dataclass(frozen=True)
class Source:
    """The member to copy from. ``life`` tells its data directory from one restored later."""

    member: str
    version: str
    life: str


def take_backup(target: Target, request: BackupRequest, progress: Progress) -> Manifest:
    """Take one backup as :func:`dbops.backup.take.take` does."""
    return take(target, request, progress, copying(target, options.read(target)))


def copying(target: Target, opts: Options) -> Copying[Source]:
    """Return what the frame is to know of this engine and this cluster."""
    work = _Work(target, opts)
    return Copying(
        store=STORE,
        kinds=tuple(flavor.named(opts.flavor).streams),
        source=work.source,
        builds_on=builds_on,
        open_stream=work.stream,
        fingerprint=work.fingerprint,
        log=work.log,
    )


def series(version: str) -> str:
    """Return the release series of a version: ``10.11`` of ``10.11.6-MariaDB-log``."""
    return ".".join(version.split("-")[0].split(".")[:2])


def builds_on(source: Source, found: Sequence[Entry]) -> Entry | str:
    """Return what an incremental backup builds upon: the newest, if it is of the same data.

    Each member's redo log has positions of its own, and a restored one begins anew.
    """
    mine = [one for one in found if one.manifest.member == source.member]
    if not mine:
        return f"there is no backup of {source.member} to build upon"
    if mine[-1].manifest.version != source.version:
        return f"{mine[-1].backup_id} is of version {mine[-1].manifest.version}"
    if mine[-1].manifest.start_point.split("@")[-1] != source.life:
        return f"the data of {source.member} were made anew since {mine[-1].backup_id}"
    return mine[-1]


@dataclass(frozen=True)
class _Work:
    target: Target
    opts: Options

    def source(self, newest: Entry | None, progress: Progress) -> Source:
        opts = self.opts
        member = members.source(opts, newest.manifest.member if newest else None)
        with client.remote(opts, opts.require_path("backup_file"), member) as connection:
            version = series(str(client.value(connection, "SELECT VERSION()")))
            life = str(client.value(connection, flavor.of(connection).life))
            return Source(member, version, life)

    @contextmanager
    def stream(
        self, repo: Repository, source: Source, parent: Entry | None, progress: Progress
    ) -> Iterator[Stream]:
        spoken, start = flavor.named(self.opts.flavor), datetime.now(UTC)
        asked = "full"
        if parent is not None:
            asked = f"incremental {parent.manifest.start_point.split('@')[0]}"

        def finished(saved: Saved, lines: Sequence[str]) -> Facts:
            said, stop = spoken.backup_log(lines), datetime.now(UTC)
            return Facts(
                version=source.version,
                start=start,
                stop=stop,
                start_point=f"{said.checkpoint}@{source.life}",
                stop_point=str(_position(self.opts, source.member, said)),
                bytes_read=said.size,
            )

        name = spoken.streams["full" if parent is None else "incremental"]
        # restic would compress all of it anew each time, at a multiple of the cost.
        yield Stream(name, command(self.opts, source.member, f"{asked} zstd"), finished)

    def fingerprint(
        self, source: Source, manifest: Manifest, progress: Progress
    ) -> tuple[Fingerprint, ...]:
        """Return the content just after the backup, once the log up to there is archived."""
        found = fingerprint.take(fingerprint.connector(self.opts, source.member), progress)
        start, point = gtid.parse(manifest.stop_point), gtid.parse(found.point)
        if not point.holds(start):
            raise CommandFailed(
                f"{source.member} stands at {point} and the backup at {start}: "
                "was it rebuilt just now?"
            )
        archive.wait(self.opts.require_path("binlog_dir"), start, point, progress)
        return (found,)

    def log(self, repo: Repository, backups: Sequence[Entry], progress: Progress) -> Log:
        """Store the archived binary log and its list; remove what no backup needs any more."""
        root = self.opts.require_path("binlog_dir")
        start = datetime.now(UTC)
        files = self.archived(backups, progress)
        listing = root / index.NAME
        writing.write(listing, index.write(files, root), shared=True)
        saved = repo.save_paths((root,), tags=("log",), progress=progress)
        newest = max(files, key=lambda file: (file.summary.last_at, chain.reach(file)))
        oldest = min(files, key=lambda file: file.summary.begun_at)

        def require_whole(manifest: Manifest) -> None:
            chain.follow(files, gtid.parse(manifest.stop_point))

        return Log(
            member=newest.member,
            facts=Facts(
                version=self.target.version,
                start=start,
                stop=newest.summary.last_at,
                start_point=str(oldest.summary.before),
                stop_point=str(newest.summary.after),
                bytes_read=saved.bytes_read,
            ),
            snapshots={LOG: saved.snapshot_id, str(listing): saved.snapshot_id},
            bytes_stored=saved.bytes_stored,
            require_whole=require_whole,
        )

    def archived(self, backups: Sequence[Entry], progress: Progress) -> list[chain.File]:
        """Return the archived files that the backups need, all for none; remove the others."""
        root = self.opts.require_path("binlog_dir")
        damaged: dict[str, str] = {}
        files = archive.survey(root, self.target.state_dir / index.NAME, damaged)
        for member, words in damaged.items():
            progress(f"{words} It is fetched anew; the log of {member} ends before it until then.")
        if not files:
            raise VerificationFailed(
                f"No binary log has come to {root}: "
                f"look at the units dbops-binlog-{self.target.cluster}@*."
            )
        if not backups:
            return files
        gone = archive.superseded(files, root, gtid.parse(backups[0].manifest.stop_point))
        archive.tidy(gone)
        return [file for file in files if file.summary.path not in set(gone)]


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
