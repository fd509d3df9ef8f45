"""The way into the cell: root outside, the drill's account from here on, bubblewrap, and inside
it :mod:`.isolated`.

It is a program of its own (``python -m dbops.drill.entering WISH -- /ABSOLUTE/PROGRAM…``), started
by :mod:`.isolation` with WISH as JSON: ``user``, ``hosts``, ``scratch`` and ``env``. Status 90 with
a sentence says that this host cannot do it.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import sys
from typing import Any

from dbops.drill.isolated import DEVICES, NAMESPACES, NOT_ISOLATED, SELF

_INSIDE = os.path.join(os.path.dirname(__file__), "isolated.py")
BWRAP = "/usr/bin/bwrap"
_PYTHON = "/usr/bin/python3"
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def bubblewrap(scratch: str | None, handles: dict[str, int], env: dict[str, str]) -> list[str]:
    """Return bubblewrap's command line up to the program; ``handles`` are what it reads from.

    There is no ``/proc`` in the cell: a new one cannot be mounted where the host's is covered in
    parts, as it is in a confined unit, and the host's own would show its processes.
    """
    argv = [BWRAP, "--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc"]
    argv += ["--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    argv += ["--as-pid-1", "--clearenv", "--ro-bind", "/usr", "/usr"]
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            argv += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            argv += ["--ro-bind", f"/{name}", f"/{name}"]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for device in DEVICES:
        argv += ["--dev-bind", device, device]
    for place in ("/etc/passwd", "/etc/group", SELF):
        argv += ["--perms", "0444", "--ro-bind-data", str(handles[place]), place]
    if scratch is not None:
        argv += ["--bind-fd", str(handles["scratch"]), scratch]
    for name, value in env.items():
        argv += ["--setenv", name, value]
    return [*argv, "--remount-ro", "/", "--chdir", "/", "--"]


def _data(text: str) -> int:
    """Return a handle from which ``text`` can be read, which the next programs inherit."""
    handle = os.memfd_create("cell", 0)
    os.write(handle, text.encode())
    os.lseek(handle, 0, os.SEEK_SET)
    os.set_inheritable(handle, True)
    return handle


def _open(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.set_inheritable(handle, True)
    return handle


def _handles(account: pwd.struct_passwd, scratch: str | None) -> dict[str, int]:
    name, uid, gid = account.pw_name, account.pw_uid, account.pw_gid
    with open(_INSIDE, encoding="utf-8") as file:
        program = file.read()
    found = {
        "/etc/passwd": _data(f"{name}:x:{uid}:{gid}::/nonexistent:/usr/sbin/nologin\n"),
        "/etc/group": _data(f"{name}:x:{gid}:\n"),
        SELF: _data(program),
        "proc": _open("/proc", os.O_RDONLY),
    }
    return found if scratch is None else found | {"scratch": _open(scratch, os.O_PATH)}


def _drop(account: pwd.struct_passwd) -> None:
    """Become the account for good: no groups, no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def _enter(wish: dict[str, Any], program: list[str]) -> None:
    try:
        account = pwd.getpwnam(wish["user"])
    except KeyError:
        raise OSError(f"the account {wish['user']!r} does not exist: run provision") from None
    if account.pw_uid == 0 or os.geteuid() not in (0, account.pw_uid):
        raise OSError(f"it must be begun by root and go on as an account other than {wish['user']}")
    for tool, package in ((BWRAP, "bubblewrap"), (_PYTHON, "python3")):
        if not os.access(tool, os.X_OK):
            raise OSError(f"{tool} is not there: install the package {package}, or run provision")
    scratch = wish["scratch"] if os.path.lexists(wish["scratch"]) else None
    handles = _handles(account, scratch)
    inside = {
        "outer": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES},
        "proc": handles["proc"],
        "uid": account.pw_uid,
        "gid": account.pw_gid,
        "scratch": scratch,
        "hosts": wish["hosts"],
        "env": wish["env"],
    }
    _drop(account)
    argv = bubblewrap(scratch, handles, wish["env"])
    argv += [_PYTHON, "-I", "-S", SELF, json.dumps(inside), "--", *program]
    os.execve(BWRAP, argv, {})


def main(arguments: list[str]) -> int:
    """Become bubblewrap, as the drill's account; say why not and return 90 otherwise."""
    try:
        _enter(json.loads(arguments[0]), arguments[2:])
    except OSError as error:
        said = (error.strerror and f"{error.filename}: {error.strerror}") or str(error)
        print(f"Isolation is not proven: {said}.", file=sys.stderr)
    return NOT_ISOLATED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
