"""What runs *inside* an isolated start: prove to be cut off, then become the program.

It is a program of its own (``python isolated.py OUTER USER HOST:PORT… -- /ABSOLUTE/PROGRAM…``)
and uses the standard library alone. Exit status 90 with one sentence on standard error says that
isolation could not be proven; the program was then not started. :mod:`dbops.isolation` makes the
call.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import struct
import sys

NOT_ISOLATED = 90
_CONNECT_SECONDS = 2.0
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def interfaces(path: str = "/proc/self/net/dev") -> list[str]:
    """Return the names of the network interfaces that a process sees, sorted."""
    with open(path, encoding="ascii") as lines:
        return sorted(line.split(":", 1)[0].strip() for line in lines if ":" in line)


def doubt(outer_namespace: str, hosts: list[tuple[str, int]]) -> str | None:
    """Return why this process is perhaps not cut off, None when it surely is.

    ``outer_namespace`` is what ``/proc/self/ns/net`` was outside; ``hosts`` must not be reachable.
    """
    if os.readlink("/proc/self/ns/net") == outer_namespace:
        return "it shares the network namespace of the host"
    seen = interfaces()
    if seen != ["lo"]:
        return f"it sees the network interfaces {', '.join(seen) or '(none)'} and not only lo"
    with open("/proc/self/net/route", encoding="ascii") as routes:
        if len(routes.read().splitlines()) > 1:
            return "it has a network route"
    for address, port in hosts:
        if _answers(address, port):
            return f"it reaches the production server at {address} port {port}"
    return None


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_SECONDS):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", request)[1] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def main(arguments: list[str]) -> int:
    """Prove isolation, bring loopback up, drop privileges and become the program."""
    split = arguments.index("--")
    outer, user, *places = arguments[:split]
    program = arguments[split + 1 :]
    pairs = [place.rpartition(":") for place in places]
    try:
        reason = doubt(outer, [(address, int(port)) for address, _, port in pairs])
        if reason is None:
            _raise_loopback()
    except (OSError, ValueError) as error:
        reason = f"the proof itself failed ({error})"
    if reason is not None:
        print(f"Isolation is not proven: {reason}.", file=sys.stderr)
        return NOT_ISOLATED
    if not program:
        return 0
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    # This very process becomes the program: what was proven for one holds for the other.
    return os.execv(program[0], program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
