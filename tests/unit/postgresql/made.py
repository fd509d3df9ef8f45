"""What the tests of PostgreSQL's backups share: a target, and what pgBackRest would answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from dbops.targets import Target

FULL = "20261101-010000F"
INCREMENTAL = "20261101-010000F_20261102-010000I"
SECOND = "20261103-010000F"
DAY = 86400
EPOCH = 1793494800
"""2026-11-01T01:00:00Z, when the first backup started."""


def target(
    tmp_path: Path, part: Literal["member", "repository", "drill"] = "repository", **options: Any
) -> Target:
    """Return a target whose files stand under ``tmp_path``."""
    settings = {
        "stanza": "flights",
        "bin_dir": "/usr/lib/postgresql/15/bin",
        "repo_path": str(tmp_path / "repo"),
        "hosts": {"pg1": "10.0.0.1", "pg2": "10.0.0.2"},
        **options,
    }
    if part == "member":
        settings.setdefault("data_dir", str(tmp_path / "main"))
        settings.setdefault("service", "postgresql@15-main.service")
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": "postgresql",
            "cluster": "flights",
            "part": part,
            "member": "backup1",
            "version": "15",
            "members": ["pg1", "pg2"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path / "state"),
            "options": settings,
        }
    )


def backup(label: str, day: int, segment: int, **more: Any) -> dict[str, Any]:
    """Return one backup as ``pgbackrest info`` reports it, taken ``day`` days after the first."""
    kind = {"F": "full", "D": "diff", "I": "incr"}[label[-1]]
    name = f"00000001000000000000{segment:04X}"
    return {
        "archive": {"start": name, "stop": name},
        "backrest": {"format": 5, "version": "2.45"},
        "database": {"id": 1, "repo-key": 1},
        "error": False,
        "info": {
            "delta": 1000,
            "repository": {"delta": 100, "size": 100},
            "size": 1000,
        },
        "label": label,
        "lsn": {"start": f"0/{segment:X}000028", "stop": f"0/{segment:X}000100"},
        "prior": None if kind == "full" else label.split("_")[0],
        "reference": None if kind == "full" else [label.split("_")[0]],
        "timestamp": {"start": EPOCH + day * DAY, "stop": EPOCH + day * DAY + 60},
        "type": kind,
        **more,
    }


def info(*backups: dict[str, Any], code: int = 0, message: str = "ok") -> str:
    """Return what ``pgbackrest info --output=json`` prints."""
    stored = list(backups) or [
        backup(FULL, 0, 0x10),
        backup(INCREMENTAL, 1, 0x20),
        backup(SECOND, 2, 0x30),
    ]
    return json.dumps(
        [
            {
                "archive": [
                    {
                        "database": {"id": 1, "repo-key": 1},
                        "id": "15-1",
                        "min": "000000010000000000000010",
                        "max": "000000010000000000000040",
                    }
                ],
                "backup": stored,
                "cipher": "aes-256-cbc",
                "db": [{"id": 1, "repo-key": 1, "system-id": 77, "version": "15"}],
                "name": "flights",
                "repo": [
                    {
                        "cipher": "aes-256-cbc",
                        "key": 1,
                        "status": {"code": code, "message": message},
                    }
                ],
                "status": {
                    "code": code,
                    "lock": {"backup": {"held": False}},
                    "message": message,
                },
            }
        ]
    )


class Repository:
    """Stands in for ``pgbackrest``: answers ``ask`` from what it was given."""

    def __init__(self, info_text: str, segments: dict[str, int], histories: dict[int, str]) -> None:
        self.info_text = info_text
        self.segments = segments
        self.histories = histories
        self.verify_text = ""
        self.expire_text = ""
        self.backup_text = ""
        self.after_backup = info_text
        self.asked: list[tuple[str, ...]] = []

    def ask(self, options: Any, verb: str, *arguments: str, **more: Any) -> str:
        """Answer like :func:`dbops.engines.postgresql.pgbackrest.ask`."""
        self.asked.append((verb, *arguments))
        if verb == "info":
            return self.info_text
        if verb == "backup":
            self.info_text = self.after_backup
            return self.backup_text
        if verb == "verify":
            return self.verify_text
        if verb == "expire":
            return self.expire_text
        if verb == "repo-get":
            return self.histories[int(arguments[-1].split("/")[-1][:8], 16)]
        if any(argument.startswith("--filter") for argument in arguments):
            return json.dumps({f"{t:08X}.history": {"type": "file"} for t in self.histories})
        return json.dumps(
            {
                f"{name[:16]}/{name}-{'0' * 40}.zst": {"type": "file", "size": 9, "time": time}
                for name, time in self.segments.items()
            }
        )


def segments(
    first: int, last: int, timeline: int = 1, missing: int | None = None
) -> dict[str, int]:
    """Return archived segments by name with the time each arrived: one every half hour."""
    return {
        f"{timeline:08X}00000000{number:08X}": EPOCH + (number - 0x10) * DAY // 16
        for number in range(first, last + 1)
        if number != missing
    }
