"""Ports of loopback for servers that tests start."""

from __future__ import annotations

import random
import socket


def free() -> int:
    """Return a port that nothing listens on, below those that connections are given.

    Several workers run side by side, so no server may have a port of its own choice; and a server
    that is started again must find its port free.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
