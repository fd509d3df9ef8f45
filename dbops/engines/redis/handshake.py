"""TLS as a member's port speaks it, from its first byte."""

from __future__ import annotations

import socket
import ssl

from dbops.monitor.certificates import Certificate, upgraded

_SECONDS = 3.0


def certificate(
    address: tuple[str, int], latest: ssl.TLSVersion | None = None, seconds: float = _SECONDS
) -> Certificate:
    """Return the certificate that the server at ``address`` serves; OSError when it serves none."""
    raw = socket.create_connection(address, timeout=seconds)
    try:
        return upgraded(raw, latest)
    finally:
        raw.close()
