"""What the tests of the MySQL column share: targets, binary log files, archives."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dbops.engines.mysql import binlog, gtid
from dbops.engines.mysql.chain import File
from dbops.targets import Target

EPOCH = 1_793_494_800
"""2026-11-01T01:00:00Z."""


def target(
    tmp_path: Path, part: Literal["member", "repository", "drill"] = "repository", **options: Any
) -> Target:
    """Return a target whose files stand under ``tmp_path``."""
    settings = {"hosts": {"m1": "10.0.0.1", "m2": "10.0.0.2"}, **options}
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": "mysql",
            "cluster": "flights",
            "part": part,
            "member": "m1",
            "version": "10.11",
            "members": ["m1", "m2"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path / "state"),
            "options": settings,
        }
    )


def event(kind: int, body: bytes = b"", *, at: int = EPOCH, server: int = 1) -> bytes:
    """Return one event, which does not say yet where in a file it stands."""
    return struct.pack("<IBIIIH", at, kind, server, 19 + len(body), 0, 0) + body


def transaction(number: int, *, at: int = EPOCH, server: int = 1, domain: int = 0) -> bytes:
    """Return a transaction as the server writes it: its GTID, a statement, its end."""
    return (
        event(162, struct.pack("<QIB", number, domain, 0), at=at, server=server)
        + event(2, query("INSERT"), at=at, server=server)
        + event(16, b"\0" * 8, at=at, server=server)
    )


def query(text: str) -> bytes:
    """Return the body of a statement's event."""
    return struct.pack("<IIBHH", 1, 0, 1, 0, 0) + b"d\0" + text.encode()


def log(path: Path, before: str, *events: bytes, at: int = EPOCH, closed: bool = True) -> Path:
    """Write a binary log file that begins after ``before``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = list(gtid.parse(before).last.values())
    listed = struct.pack("<I", len(known)) + b"".join(
        struct.pack("<IIQ", int(one.history), one.server, one.number) for one in known
    )
    last = event(4, at=at) if closed else b""
    whole = bytearray(
        b"\xfebin" + event(15, at=at) + event(163, listed, at=at) + b"".join(events) + last
    )
    place = 4
    while place + 19 <= len(whole):
        end = place + struct.unpack_from("<I", whole, place + 9)[0]
        struct.pack_into("<I", whole, place + 13, end)
        place = end
    path.write_bytes(whole)
    return path


def files(*paths: Path) -> list[File]:
    """Return the files as an archive lists them."""
    return [File(path.parent.parent.name, binlog.summary(path)) for path in paths]


def moment(second: float) -> datetime:
    """Return a time some seconds after the epoch of these tests."""
    return datetime.fromtimestamp(EPOCH + second, UTC)
