"""Targets and manifests made for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbops.manifest import Manifest
from dbops.repository.routes import Entry
from dbops.targets import Target

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def target(folder: Path, part: str = "member", **options: Any) -> Target:
    """Return the target of one host of a cluster of two."""
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": "redis",
            "cluster": "store",
            "part": part,
            "member": "db1",
            "version": "7.0",
            "members": ["db1", "db2"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(folder / "state"),
            "options": {"hosts": {"db1": "10.0.0.1", "db2": "10.0.0.2"}, **options},
        }
    )


def entry(
    backup_id: str, stop: datetime, parent: str | None = None, format_: str = "REDIS0010"
) -> Entry:
    """Return one backup, or one log entry if it has a parent."""
    point = f"{format_}/2-1767355200-1000+0"
    manifest = Manifest(
        engine="redis",
        version="Valkey 9.0.1" if format_.startswith("VALKEY") else "Redis 7.0.15",
        cluster="store",
        member="db1",
        backup_id=backup_id,
        kind="log" if parent else "full",
        parent_id=parent,
        start=stop,
        stop=stop,
        start_point=point,
        stop_point=point,
        bytes_read=1000,
        bytes_stored=100,
        encrypted=True,
        tool="restic",
        tool_version="0.14.0",
        dbops_version="0",
    )
    return Entry(manifest=manifest, snapshots={"log.aof" if parent else "base.rdb": "a" * 64})
