"""Scheduled events across a replay: a server that applies another one's log switches them off.

Whether one is on is told by the statements that made and altered it. Only that is read of them,
after the server itself has carried them out; what they do, and as whom, stays the server's.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dbops.engines.mysql import binlog, client
from dbops.engines.mysql.binlog import HEADER, QUERY, QUERY_PACKED, Part
from dbops.engines.mysql.client import Connection

ON, OFF, ELSEWHERE = "ENABLED", "DISABLED", "SLAVESIDE_DISABLED"
_MOST_BYTES = 1 << 20
_SQL_MODE = 1
_FLAGS, _FLAGS_BYTES = 0, 4
_ANSI_QUOTES, _NO_ESCAPES = 1 << 2, 1 << 20
_HINT = re.compile(rb"\bevent\b", re.IGNORECASE)
_TOKEN = (
    r"(?P<space>\s+|--[\x00-\x20].*?(?:\n|$)|\#.*?(?:\n|$)|/\*M?!\d*|\*/|/\*.*?\*/)"
    r"|(?P<name>`(?:[^`]|``)*`)|(?P<double>\"(?:{escaped}[^\"]|\"\")*\")"
    r"|(?P<text>'(?:{escaped}[^']|'')*')|(?P<word>[\w$]+)|(?P<other>.)"
)
_TOKENS = {
    escapes: re.compile(_TOKEN.format(escaped=r"\\.|" if escapes else ""), re.DOTALL)
    for escapes in (True, False)
}
_OTHERS = {"TABLE", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "DATABASE", "SCHEMA", "USER"}
_LIST = "SELECT event_schema, event_name, status FROM information_schema.events"
Key = tuple[str, str]
Switch = Callable[[Connection, str, str, str], None]


@dataclass(frozen=True)
class Statement:
    """A statement about an event: the verb, which event, its state if said, its new name."""

    verb: str
    event: Key
    state: str | None = None
    renamed: Key | None = None
    unless_there: bool = False


def statements(source: int, wanted: Sequence[Part], trailing: int) -> Iterator[Statement]:
    """Yield what the transactions of an open binary log file say about events.

    Each event of the log ends with ``trailing`` bytes of checksum.
    """
    for part in wanted:
        place = part.start
        while place < part.end:
            head = HEADER.unpack(os.pread(source, HEADER.size, place))
            kind, length = head[1], head[3]
            if kind in (QUERY, QUERY_PACKED) and length <= _MOST_BYTES:
                body = os.pread(source, length - HEADER.size - trailing, place + HEADER.size)
                found = _read(kind, body)
                if found is not None:
                    yield found
            place += length


def _read(kind: int, body: bytes) -> Statement | None:
    known, database, text = binlog.statement(body)
    if kind == QUERY_PACKED:
        text = _unpacked(text)
    if not _HINT.search(text):
        return None
    return parse(
        text.decode("utf-8", "replace"), database.decode("utf-8", "replace"), _sql_mode(known)
    )


def _unpacked(text: bytes) -> bytes:
    """Unpack as MariaDB packs: a byte that tells how many bytes of length follow, then zlib's."""
    try:
        return zlib.decompressobj().decompress(text[1 + (text[0] & 7) :], _MOST_BYTES)
    except (zlib.error, IndexError):
        return b""


def _sql_mode(known: bytes) -> int:
    """Return the session's SQL mode, which stands behind the flags."""
    if known[:1] == bytes([_FLAGS]):
        known = known[1 + _FLAGS_BYTES :]
    return int.from_bytes(known[1:9], "little") if known[:1] == bytes([_SQL_MODE]) else 0


def parse(text: str, database: str, sql_mode: int = 0) -> Statement | None:
    """Return what a statement says about an event's state, None for any other statement."""
    tokens = list(_tokens(text, sql_mode))
    words = [None if quoted else token.upper() for token, quoted in tokens]
    if not words or words[0] not in ("CREATE", "ALTER", "DROP") or "EVENT" not in words[:20]:
        return None
    at = words.index("EVENT")
    if _OTHERS & set(words[:at]):
        return None
    end = words.index("DO", at) if "DO" in words[at:] else len(words)
    place = at + 1
    if unless_there := words[place : place + 1] == ["IF"]:
        place += 2 if words[0] == "DROP" else 3
    event, place = _name(tokens, place, database)
    if event is None:
        return None
    state = ON if words[0] == "CREATE" else None
    renamed: Key | None = None
    for number in range(place, end):
        if words[number] == "ENABLE":
            state = ON
        elif words[number] == "DISABLE":
            state = ELSEWHERE if words[number + 1 : number + 2] == ["ON"] else OFF
        elif words[number] == "RENAME":
            renamed, _ = _name(tokens, number + 2, database)
    return Statement(str(words[0]), event, state, renamed, unless_there)


def _tokens(text: str, sql_mode: int) -> Iterator[tuple[str, bool]]:
    """Yield each word and sign and whether it is quoted."""
    for found in _TOKENS[not sql_mode & _NO_ESCAPES].finditer(text.rstrip("\0")):
        kind, token = found.lastgroup, found[0]
        if kind == "name" or (kind == "double" and sql_mode & _ANSI_QUOTES):
            yield token[1:-1].replace(token[0] * 2, token[0]), True
        elif kind in ("double", "text"):
            yield "", True
        elif kind != "space":
            yield token, False


def _name(tokens: Sequence[tuple[str, bool]], place: int, database: str) -> tuple[Key | None, int]:
    """Return the event named at ``place``, and where the statement goes on."""
    names = [token for token, _ in tokens[place : place + 3]]
    if len(names) == 3 and names[1] == ".":
        return (names[0], names[2].casefold()), place + 3
    return ((database, names[0].casefold()), place + 1) if names else (None, place)


def states(connection: Connection) -> dict[Key, str]:
    """Return every event's state as the server has it, in MariaDB's words."""
    found = client.rows(connection, _LIST)
    return {
        (str(schema), str(name).casefold()): str(state).replace("REPLICA_SIDE", "SLAVESIDE")
        for schema, name, state in found
    }


def followed(before: Mapping[Key, str], said: Sequence[Statement]) -> dict[Key, str]:
    """Return the state of each event once all that was ``said`` has been carried out."""
    known = dict(before)
    for one in said:
        if one.verb == "DROP":
            known.pop(one.event, None)
            continue
        if one.unless_there and one.event in known:
            continue
        state = one.state or known.pop(one.event, None)
        if state is not None:
            known.pop(one.event, None)
            known[one.renamed or one.event] = state
    return known


def mend(connection: Connection, wanted: Mapping[Key, str], switch: Switch) -> None:
    """Give each event that the replay switched off its state back, in no log."""
    off = [key for key, state in states(connection).items() if state == ELSEWHERE]
    mended = [(key, wanted[key]) for key in off if wanted.get(key, ELSEWHERE) != ELSEWHERE]
    if not mended:
        return
    client.rows(connection, "SET SESSION sql_log_bin = 0")
    for (schema, name), state in mended:
        switch(connection, schema, name, state)
    client.rows(connection, "SET SESSION sql_log_bin = 1")
