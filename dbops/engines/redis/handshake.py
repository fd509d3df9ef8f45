"""TLS as a member's port speaks it, from its first byte."""

from __future__ import annotations

import socket
import ssl

from dbops.engines.redis.options import Options
from dbops.monitor.certificates import Certificate, upgraded
from dbops.targets import Target

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
        return upgraded(raw, latest)
    finally:
        raw.close()
