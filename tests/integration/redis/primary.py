"""A primary that somebody wrote: it gives a replica an empty copy, then whatever it likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from dbops.engines.redis.client import Ask, _packed
from tests.integration import ports

_EMPTY = b"REDIS0010\xff" + bytes(8)
_ID = b"a" * 40


def _command(stream: BinaryIO) -> list[bytes]:
    """Read one command; nothing at the end."""
    line = stream.readline()
    if not line:
        return []
    words = []
    for _ in range(int(line[1:])):
        words.append(stream.read(int(stream.readline()[1:]) + 2)[:-2])
    return words


def _serve(listening: socket.socket, commands: list[Ask]) -> None:
    with listening:
        raw, _ = listening.accept()
    with raw, raw.makefile("rb") as stream:
        while words := _command(stream):
            name = words[0].upper()
            if name == b"PSYNC":
                raw.sendall(b"+FULLRESYNC %b 0\r\n$%d\r\n%b" % (_ID, len(_EMPTY), _EMPTY))
                raw.sendall(b"".join(map(_packed, commands)))
            elif b"ACK" not in words:
                raw.sendall(b"+PONG\r\n" if name == b"PING" else b"+OK\r\n")


@contextmanager
def giving(*commands: Ask) -> Iterator[int]:
    """Listen for one replica, which gets ``commands``; yields the port."""
    port = ports.free()
    listening = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=_serve, args=(listening, list(commands)), daemon=True)
    thread.start()
    yield port
