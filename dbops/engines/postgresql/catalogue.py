"""The catalogue: what pgBackRest holds, joined with the manifests that dbops wrote beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from dbops.contract import Backup, Catalogue, RecoveryWindow
from dbops.engines.postgresql import options, pgbackrest
from dbops.engines.postgresql.options import Options
from dbops.engines.postgresql.pgbackrest import Stanza, StoredBackup
from dbops.errors import CommandFailed, ConfigError
from dbops.manifest import Kind, Manifest
from dbops.repository import plausible
from dbops.repository.plausible import Full
from dbops.runner import capture
from dbops.targets import Target

FILE = "dbops.json"
_KINDS: dict[str, Kind] = {
    "full": "full",
    "differential": "differential",
    "incremental": "incremental",
}


def catalogue(target: Target) -> Catalogue:
    """Return every complete backup, oldest first, and the times to which a restore can go."""
    opts = options.read(target)
    return read(target, opts, pgbackrest.info(opts))


def read(target: Target, opts: Options, stanza: Stanza) -> Catalogue:
    """Return the catalogue that ``stanza`` stands for."""
    backups = tuple(_backup(target, opts, stanza, stored) for stored in stanza.backups)
    return Catalogue(backups, _window(opts, stanza), plausible.doubt(fulls(stanza, backups)))


def fulls(stanza: Stanza, backups: Sequence[Backup]) -> list[Full]:
    """Return the whole full backups of a stanza, and what retention asks of each."""
    return [
        Full(
            stored.label,
            stored.size,
            backup.manifest is not None and backup.manifest.accepted,
            stop=stored.stop,
            automatic=backup.manifest is not None and backup.manifest.automatic,
        )
        for stored, backup in zip(stanza.backups, backups, strict=True)
        if stored.kind == "full" and not stored.error
    ]


def _backup(target: Target, opts: Options, stanza: Stanza, stored: StoredBackup) -> Backup:
    try:
        manifest = read_manifest(target, opts, stored.label)
    except CommandFailed:
        manifest = None
    return Backup(
        backup_id=stored.label,
        kind=_KINDS[stored.kind],
        start=stored.start,
        stop=stored.stop,
        bytes_read=stored.read,
        bytes_stored=stored.stored,
        parent_id=stored.prior,
        encrypted=stanza.encrypted,
        error=stored.error,
        manifest=manifest,
    )


def _window(opts: Options, stanza: Stanza) -> RecoveryWindow | None:
    sound = [backup for backup in stanza.backups if not backup.error]
    if not sound:
        return None
    newest = max(backup.stop for backup in sound)
    archived = newest_archived(opts, stanza)
    return RecoveryWindow(
        oldest=min(backup.stop for backup in sound),
        newest=max(newest, archived) if archived else newest,
    )


def newest_archived(opts: Options, stanza: Stanza) -> datetime | None:
    """Return when the newest segment of the newest generation arrived, None when none has."""
    archive = stanza.archive()
    if archive is None or archive.newest is None:
        return None
    found = pgbackrest.segments(opts, archive.archive_id, archive.newest[:16])
    return found[archive.newest].archived if archive.newest in found else None


def manifest_path(opts: Options, label: str) -> Path:
    """Return where the manifest of a backup stands on the repository host."""
    return opts.repo_path / "backup" / opts.stanza / label / FILE


def read_manifest(target: Target, opts: Options, label: str) -> Manifest | None:
    """Return a backup's manifest, None when it has none; CommandFailed when it is damaged."""
    text = _text(target, opts, label)
    if text is None:
        return None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
        raise CommandFailed(f"{label}/{FILE} is damaged: it is no manifest.") from None
    if manifest.backup_id != label:
        raise CommandFailed(f"{label}/{FILE} is damaged: it describes {manifest.backup_id}.")
    return manifest


def _text(target: Target, opts: Options, label: str) -> str | None:
    path = manifest_path(opts, label)
    if target.part == "repository" and os.access(opts.repo_path, os.R_OK | os.X_OK):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            raise CommandFailed(f"{label}/{FILE} cannot be read.") from None
    inside = f"backup/{opts.stanza}/{label}/{FILE}"
    done = capture(
        pgbackrest.command(
            opts, "repo-get", "--raw", "--ignore-missing", inside, timeout_seconds=60
        )
    )
    if done.status == 1 and not done.stderr.strip():
        return None
    if done.status != 0:
        raise pgbackrest.failure(done, "repo-get")
    return done.stdout


def choose(stanza: Stanza, backup_id: str | None) -> StoredBackup:
    """Return the backup called ``backup_id``, the newest sound one for None.

    Raises ConfigError for a name that is no backup's, in the repository or at all.
    """
    if backup_id is None:
        sound = [backup for backup in stanza.backups if not backup.error]
        if not sound:
            raise ConfigError("The catalogue holds no backup: take one first.")
        return sound[-1]
    if not pgbackrest.LABEL.fullmatch(backup_id):
        raise ConfigError(
            f"{backup_id!r} is not a backup id: one looks like 20260102-030405F, "
            "see 'dbops backup list'."
        )
    for backup in stanza.backups:
        if backup.label == backup_id:
            return backup
    known = ", ".join(backup.label for backup in stanza.backups[-5:]) or "none"
    raise ConfigError(f"No backup {backup_id!r} in the catalogue (newest: {known}).")
