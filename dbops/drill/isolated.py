"""What runs *inside* the cell: prove to be cut off, then become the program.

It is a program of its own (``python isolated.py WISH -- /ABSOLUTE/PROGRAM…``), uses the standard
library alone, and is the first process of the cell. Exit status 90 with one sentence on standard
error says that isolation could not be proven; the program was then not started. :mod:`.entering`
starts it and says in WISH, as JSON, what must hold:

``outer``: the namespaces outside; ``proc``: the handle of a ``/proc`` that is closed before the
program starts; ``uid``, ``gid``: the account; ``scratch``: the only folder that may be written to,
or null; ``hosts``: what must be out of reach; ``env``: the environment.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from typing import Any

NOT_ISOLATED = 90
NAMESPACES = ("net", "mnt", "pid", "ipc", "uts", "user")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
SELF = "/isolated.py"
_TOP = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "dev", SELF[1:]}
_ETC = {"passwd", "group", "ld.so.cache"}
_ABSENT = ("/etc/dbops", "/etc/shadow", "/proc", "/sys", "/dev/shm")
_NO_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_CONNECT_SECONDS = 2.0


def interfaces(table: str) -> list[str]:
    """Return the names of the network interfaces in the text of ``/proc/PID/net/dev``, sorted."""
    return sorted(line.split(":", 1)[0].strip() for line in table.splitlines() if ":" in line)


def rights(status: str, uid: int, gid: int) -> str | None:
    """Return what is wrong with the rights in the text of ``/proc/PID/status``, None if nothing."""
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    said = {name: value.split() for name, value in facts.items()}
    if uid == 0 or said.get("Uid") != [str(uid)] * 4 or said.get("Gid") != [str(gid)] * 4:
        return "it does not run as the drill's account"
    if said.get("Groups") not in ([], [str(gid)]):
        return f"it is in the groups {' '.join(said.get('Groups', ['(unknown)']))}"
    if said.get("NoNewPrivs") != ["1"]:
        return "it may gain privileges (no_new_privs is not set)"
    for name in _NO_CAPABILITIES:
        if said.get(name) is None or int(said[name][0], 16) != 0:
            return f"it has capabilities ({name})"
    return None


def writable(mounts: str, scratch: str | None) -> str | None:
    """Return the first place in the text of ``mountinfo`` that may be written to and should not.

    Programs that would raise rights by their owner are of no use on any mount of the cell.
    """
    free = {scratch, *DEVICES}
    for line in mounts.splitlines():
        words = line.split(" ")
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4])
        options = words[5].split(",")
        if "ro" not in options and place not in free:
            return f"{place} can be written to"
        if "nosuid" not in options:
            return f"programs on {place} may raise their rights"
    return None


def _read(proc: int, name: str) -> str:
    with open(os.open(f"self/{name}", os.O_RDONLY, dir_fd=proc), encoding="ascii") as file:
        return file.read()


def _namespaces(proc: int, outer: dict[str, str]) -> str | None:
    for kind in NAMESPACES:
        if os.readlink(f"self/ns/{kind}", dir_fd=proc) == outer[kind]:
            return f"it shares the {kind} namespace of the host"
    return None if os.getpid() == 1 else "it is not the first process of its own"


def _network(proc: int, hosts: list[tuple[str, int]]) -> str | None:
    seen = interfaces(_read(proc, "net/dev"))
    if seen != ["lo"]:
        return f"it sees the network interfaces {', '.join(seen) or '(none)'} and not only lo"
    if len(_read(proc, "net/route").splitlines()) > 1:
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


def _files(scratch: str | None) -> str | None:
    """Look at what is there: the system's programs, what was made for the cell, and the scratch."""
    parts = scratch.split("/")[1:] if scratch else []
    allowed = {"/": _TOP | set(parts[:1]), "/etc": _ETC}
    for depth in range(1, len(parts)):
        allowed.setdefault("/" + "/".join(parts[:depth]), {parts[depth]})
    for folder, names in allowed.items():
        if strange := sorted(set(os.listdir(folder)) - names):
            return f"it sees {folder.rstrip('/')}/{strange[0]}"
    return next((f"it sees {place}" for place in _ABSENT if os.path.lexists(place)), None)


def doubt(wish: dict[str, Any]) -> str | None:
    """Return why this process is perhaps not cut off, None when it surely is."""
    proc, scratch = wish["proc"], wish["scratch"]
    if extra := sorted(set(os.environ) - set(wish["env"]) - {"PWD"}):
        return f"its environment holds {extra[0]}"
    return (
        _namespaces(proc, wish["outer"])
        or rights(_read(proc, "status"), wish["uid"], wish["gid"])
        or writable(_read(proc, "mountinfo"), scratch)
        or _files(scratch)
        or _network(proc, [(address, port) for address, port in wish["hosts"]])
    )


def main(arguments: list[str]) -> int:
    """Prove isolation, let go of everything from outside and become the program."""
    try:
        wish, program = json.loads(arguments[0]), arguments[2:]
        reason = doubt(wish)
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = f"the proof itself failed ({error})"
    if reason is not None:
        print(f"Isolation is not proven: {reason}.", file=sys.stderr)
        return NOT_ISOLATED
    if not program:
        return 0
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # This very process becomes the program: what was proven for one holds for the other.
    try:
        os.execve(program[0], program, wish["env"])
    except OSError as error:
        print(f"{program[0]} cannot be started in the cell: {error.strerror}.", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
