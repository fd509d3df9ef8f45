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
from pathlib import Path
from typing import Any

from dbops import files
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
    text = json.dumps(status, indent=1, ensure_ascii=False) + "\n"
    files.write(path(target), text, shared=True)
