"""TLS as PostgreSQL's own port speaks it: ask for it inside the protocol, then look at it."""

from __future__ import annotations

import socket
import ssl

from dbops.engines.postgresql.options import Options
from dbops.monitor.certificates import Certificate, upgraded
from dbops.targets import Target

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_SECONDS = 3.0


def own_address(target: Target, options: Options) -> tuple[str, int]:
    """Return where this member answers by TCP, loopback when the target does not say."""
    return options.hosts.get(target.member, "127.0.0.1"), options.port


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
