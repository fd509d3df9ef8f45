"""The head of an RDB file: who wrote it, in which format, and whether a server here can read it.

What is *not* here: the content; only a server reads that.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dbops.engines.redis.options import Options
from dbops.errors import ConfigError, VerificationFailed
from dbops.runner import Command, capture

HEAD_BYTES = 512
_MAGIC = re.compile(rb"(REDIS|VALKEY)(\d{3,4})")
_AUX, _END = 0xFA, 0xFF


@dataclass(frozen=True)
class Head:
    """What the first bytes of an RDB file tell. ``format`` is its magic: ``REDIS0010``.

    ``position`` is where its replication stream was, empty in a file that does not tell.
    """

    format: str
    writer: str
    made_at: int
    position: str = ""

    @property
    def version(self) -> str:
        """The version of the server that wrote it, by itself."""
        return self.writer.split(" ", 1)[1] if " " in self.writer else ""


def head(data: bytes) -> Head:
    """Return what the first bytes of a file tell; VerificationFailed when it is no RDB file."""
    match = _MAGIC.match(data)
    if match is None:
        raise VerificationFailed("The file is no RDB file: it does not begin with REDIS or VALKEY.")
    known = _auxiliary(data, match.end())
    if "valkey-ver" in known:
        writer = f"Valkey {known['valkey-ver']}"
    else:
        writer = f"Redis {known.get('redis-ver', 'of an unknown version')}"
    made_at = known.get("ctime", "")
    position = f"{known.get('repl-id', '')}:{known.get('repl-offset', '')}".strip(":")
    return Head(match[0].decode(), writer, int(made_at) if made_at.isdigit() else 0, position)


def read_head(path: Path) -> Head:
    """Return what the first bytes of the file ``path`` tell."""
    with path.open("rb") as file:
        return head(file.read(HEAD_BYTES))


def _auxiliary(data: bytes, place: int) -> dict[str, str]:
    """Return the auxiliary fields, as far as ``data`` goes."""
    found = {}
    while place < len(data) and data[place] == _AUX:
        try:
            name, place = _string(data, place + 1)
            value, place = _string(data, place)
        except IndexError:
            break
        found[name] = value
    return found


def _string(data: bytes, place: int) -> tuple[str, int]:
    """Return a length-prefixed string or a number encoded as one, and where it ends."""
    first = data[place]
    if first >> 6 == 0:
        length, place = first & 0x3F, place + 1
    elif first >> 6 == 1:
        length, place = (first & 0x3F) << 8 | data[place + 1], place + 2
    elif first in (0xC0, 0xC1, 0xC2):
        size = 1 << (first & 0x3F)
        raw = data[place + 1 : place + 1 + size]
        if len(raw) < size:
            raise IndexError
        return str(int.from_bytes(raw, "little")), place + 1 + size
    else:
        raise IndexError
    if place + length > len(data):
        raise IndexError
    return data[place : place + length].decode("utf-8", "replace"), place + length


def readable(options: Options, format_: str) -> bool:
    """Ask the tool of the server on this host whether it reads files of ``format_``."""
    with tempfile.TemporaryDirectory(prefix="dbops-rdb-") as folder:
        sample = Path(folder) / "empty.rdb"
        # End of file and a checksum of zero, which means that there is none.
        sample.write_bytes(format_.encode() + bytes([_END]) + bytes(8))
        command = Command(
            (str(options.tool("check-rdb")), str(sample)), title="check-rdb", timeout_seconds=30
        )
        return capture(command).status == 0


def refuse_unreadable(options: Options, backup_id: str, format_: str, writer: str) -> None:
    """Raise ConfigError, naming both versions, for a backup that the server here cannot read."""
    if not readable(options, format_):
        raise ConfigError(
            f"Backup {backup_id} was written by {writer} in the format {format_}, which the "
            f"{server_version(options)} on this host cannot read: restore it where {writer} or "
            "a newer version of the same server is installed."
        )


def server_version(options: Options) -> str:
    """Return the name and version of the server program on this host."""
    said = capture(Command((str(options.server), "--version"), timeout_seconds=30)).stdout
    match = re.search(r"v=(\S+)", said)
    name = "Valkey" if options.flavor == "valkey" else "Redis"
    return f"{name} {match[1] if match else 'of an unknown version'}"
