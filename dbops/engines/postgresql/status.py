"""What the last attempts came to: ``backup-status.json`` in the state directory, for metrics.

``{"schema_version": 1,
"kinds": {kind: {"last_attempt": time, "last_result": 0 or 1, "last_success": time or null,
"duration_seconds": n, "bytes_read": n, "bytes_stored": n, "backup_id": text, "message": text}},
"verify": {"last_attempt", "last_result", "last_success", "files_checked", "problems": [text],
"sound": [backup id]},
"catalogue": {"retained": n, "full": n, "chain_length": n, "encrypted": bool,
"oldest": time or null, "newest": time or null, "newest_backup": id or null}}``.
Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from dbops.errors import ConfigError
from dbops.targets import Target

SCHEMA = 1


def path(target: Target) -> Path:
    """Return where the status of ``target`` is kept."""
    return target.state_dir / "backup-status.json"


def read(target: Target) -> dict[str, Any]:
    """Return the status; an absent or torn file counts as none so far."""
    try:
        data = json.loads(path(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = {}
    status: dict[str, Any] = data if isinstance(data, dict) else {}
    return {"schema_version": SCHEMA, "kinds": {}, "verify": {}, "catalogue": {}} | status


def update(target: Target, section: str, changes: dict[str, Any], kind: str | None = None) -> None:
    """Merge ``changes`` into one section of the status, or into one kind of ``kinds``."""
    status = read(target)
    place = status[section] if kind is None else status[section].setdefault(kind, {})
    place.update(changes)
    write_file(path(target), json.dumps(status, indent=1, ensure_ascii=False) + "\n")


def write_file(file: Path, text: str) -> None:
    """Write ``text`` whole or not at all, mode 0640, owned like the directory it stands in."""
    temporary = ""
    try:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        owner = file.parent.stat()
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), 0o640)
            _give(stream.fileno(), owner)
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        _sync(file.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from None


def _give(handle: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    elif owner.st_gid in (os.getegid(), *os.getgroups()):
        os.fchown(handle, -1, owner.st_gid)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
