"""TLS as PostgreSQL's own port speaks it: ask for it inside the protocol, then look at it."""

from __future__ import annotations

import socket
import ssl

from dbops.monitor.certificates import Certificate, upgraded

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_SECONDS = 3.0


def certificate(
    address: tuple[str, int], latest: ssl.TLSVersion | None = None, seconds: float = _SECONDS
) -> Certificate:
    """Return the certificate that the server at ``address`` serves; OSError when it serves none."""
    raw = socket.create_connection(address, timeout=seconds)
    try:
        raw.sendall(_SSL_REQUEST)
        answer = raw.recv(1)
        if answer != b"S":
            raise OSError("the server does not speak TLS")
        return upgraded(raw, latest)
    finally:
        raw.close()
