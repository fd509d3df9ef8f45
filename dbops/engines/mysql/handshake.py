"""TLS as the server's own port speaks it: ask for it inside the protocol, then look at it."""

from __future__ import annotations

import socket
import ssl
import struct

from dbops.monitor.certificates import Certificate, upgraded

_SECONDS = 3.0
_SSL, _PROTOCOL_41, _SECURE = 0x800, 0x200, 0x8000
_PACKET = 1 << 24
_UTF8MB4 = 45


def certificate(
    address: tuple[str, int], latest: ssl.TLSVersion | None = None, seconds: float = _SECONDS
) -> Certificate:
    """Return the certificate that the server at ``address`` serves; OSError when it serves none."""
    raw = socket.create_connection(address, timeout=seconds)
    try:
        greeting = _packet(raw)
        if not greeting or greeting[0] == 0xFF or not _offers_tls(greeting):
            raise OSError("the server does not speak TLS")
        asked = struct.pack("<IIB23x", _SSL | _PROTOCOL_41 | _SECURE, _PACKET, _UTF8MB4)
        raw.sendall(len(asked).to_bytes(3, "little") + b"\x01" + asked)
        return upgraded(raw, latest)
    finally:
        raw.close()


def _packet(raw: socket.socket) -> bytes:
    header = _exactly(raw, 4)
    return _exactly(raw, int.from_bytes(header[:3], "little"))


def _exactly(raw: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = raw.recv(count - len(data))
        if not more:
            raise OSError("the server closed the connection")
        data += more
    return data


def _offers_tls(greeting: bytes) -> bool:
    """The capabilities stand behind the version, the connection's number and its first salt."""
    place = greeting.index(b"\0") + 1 + 4 + 8 + 1
    (lower,) = struct.unpack_from("<H", greeting, place)
    return bool(lower & _SSL)
