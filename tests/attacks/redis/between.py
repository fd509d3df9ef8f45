"""Runs on a primary that was taken over: stands between it and the others, on its own address.

Passes everything on, and adds COMMANDS to the stream of the replica at VICTIM. Arguments: the
address and port to listen on, the victim's address, a file with one command per line. Prints a line
when the commands were sent. Standard library only.
"""

from __future__ import annotations

import select
import shlex
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

_TLS = Path("/etc/dbops/tls")
_QUIET_SECONDS = 0.2
_SETTLED_SECONDS = 3.0


def _context(server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(_TLS / "ca.crt")
    purpose = "host" if server else "client"
    context.load_cert_chain(_TLS / f"{purpose}.crt", _TLS / f"{purpose}.key")
    return context


def _packed(line: str) -> bytes:
    words = [word.encode() for word in shlex.split(line)]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(parts))


class Between:
    """One connection and its continuation to the real server."""

    def __init__(self, near: ssl.SSLSocket, far: ssl.SSLSocket, commands: bytes) -> None:
        self.ways = {near: far, far: near}
        self.near, self.commands = near, commands
        self.asked = False
        self.began = 0.0

    def run(self) -> None:
        """Pass on until one side ends; add the commands while the primary is quiet."""
        last = b""
        while True:
            ready = [one for one in self.ways if one.pending()]
            ready = ready or select.select(list(self.ways), [], [], _QUIET_SECONDS)[0]
            if not ready and self._may_add(last):
                self.near.sendall(self.commands)
                self.commands = b""
                print("sent", flush=True)
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                if one is self.near:
                    self.asked = self.asked or b"PSYNC" in data.upper()
                    if b"ACK" in data and not self.began:
                        self.began = time.monotonic()
                else:
                    last = data
                self.ways[one].sendall(data)

    def _may_add(self, last: bytes) -> bool:
        """Only between two commands, once the replica has all and says so every second."""
        settled = self.began and time.monotonic() - self.began > _SETTLED_SECONDS
        return bool(self.commands and self.asked and settled and last.endswith(b"\r\n"))


def _serve(raw: socket.socket, source: str, victim: str, port: int, commands: bytes) -> None:
    try:
        near = _context(server=True).wrap_socket(raw, server_side=True)
        plain = socket.create_connection(("127.0.0.1", port))
        far = _context(server=False).wrap_socket(plain)
        Between(near, far, commands if source == victim else b"").run()
        near.close()
        far.close()
    except OSError as error:
        print(f"{source}: {error}", flush=True)


def main() -> None:
    """Listen until ended."""
    address, port, victim, path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    commands = b"".join(map(_packed, lines))
    with socket.create_server((address, port)) as listening:
        print("listening", flush=True)
        while True:
            raw, (source, _) = listening.accept()
            given = (raw, source, victim, port, commands)
            threading.Thread(target=_serve, args=given, daemon=True).start()


if __name__ == "__main__":
    main()
