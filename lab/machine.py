"""The machine under the lab: packages, the namespace podman needs, and the podman command itself.

Three things may stop a systemd container and are cured only where they are found: hard limits below
podman's defaults, the hybrid cgroup layout, and absent cgroup controllers. The machine's own cgroup
mounts and container configuration are never touched.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PACKAGES = {
    "podman": "podman",
    "crun": "crun",
    "netavark": "/usr/lib/podman/netavark",
    "aardvark-dns": "/usr/lib/podman/aardvark-dns",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh",
    "iproute2": "ip",
    "util-linux": "nsenter",
}
LIMIT_SECONDS = 900
CACHE = Path(os.environ.get("DBOPS_CACHE_DIR", "/var/cache/dbops"))
RUN = Path("/run/dbops-lab")
NAMESPACE = RUN / "mnt"
CONF = RUN / "containers.conf"


class LabError(Exception):
    """The lab cannot go on; the message says what is missing and what to do."""


def say(text: str) -> None:
    """Tell the user what the lab is doing."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def command(*argv: str, stdin: str | None = None, ok: bool = True) -> str:
    """Run ``argv`` and return what it printed; LabError with its last words when it fails."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        words = " ".join(argv[:4])
        raise LabError(f"{words} … did not end within {LIMIT_SECONDS} s.") from None
    if ok and done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise LabError(f"{' '.join(argv[:4])} … failed with status {done.returncode}: {last[0]}")
    return done.stdout


@contextmanager
def turn(what: str) -> Iterator[None]:
    """Have ``what`` to oneself: of labs that come up at once, each waits for the one before it."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    with (RUN / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare() -> None:
    """Make the machine able to run the lab: install what is absent, enter no state half way."""
    if os.geteuid() != 0:
        raise LabError("the lab makes containers with systemd and needs root: run it with sudo.")
    with turn("machine"):
        _install()
        _namespace()


def _install() -> None:
    missing = [
        package
        for package, probe in PACKAGES.items()
        if not (Path(probe).exists() if probe.startswith("/") else shutil.which(probe))
    ]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"please install {', '.join(missing)}: this system has no apt-get.")
    say(f"installing {', '.join(missing)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing],
    ):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv[:2])} failed: {done.stderr.strip()[-300:]}")


def _pure_cgroup2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _mounted(path: Path) -> bool:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in lines)


def _namespace() -> None:
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    nproc = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    limits = [
        f'"{name}={value}:{value}"'
        for name, value in (
            ("nofile", _bounded(nofile, 1048576)),
            ("nproc", _bounded(nproc, 30000)),
        )
    ]
    CONF.write_text(
        f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n"
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    if _pure_cgroup2() or _mounted(NAMESPACE):
        return
    if not _mounted(RUN):
        command("mount", "--bind", str(RUN), str(RUN))
    command("mount", "--make-private", str(RUN))
    NAMESPACE.touch()
    # A mount namespace kept alive by its file needs no process to hold it.
    command(
        "unshare",
        f"--mount={NAMESPACE}",
        "--propagation",
        "slave",
        "sh",
        "-ec",
        "umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
    )


def _bounded(hard: int, wanted: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)


@cache
def _entrance() -> tuple[str, ...]:
    """Return the words before a program that works on containers, whichever the layout here."""
    # podman and crun must look for what runs in the same folder.
    base = ("env", "-u", "XDG_RUNTIME_DIR", f"CONTAINERS_CONF={CONF}")
    return (*base, "nsenter", f"--mount={NAMESPACE}") if _mounted(NAMESPACE) else base


def podman_argv() -> tuple[str, ...]:
    """Return the words that start podman here."""
    return (*_entrance(), "podman")


def podman(*argv: str, ok: bool = True) -> str:
    """Run podman with ``argv`` and return what it printed."""
    return command(*podman_argv(), *argv, ok=ok)


def inside(identity: str, *argv: str, ok: bool = True) -> str:
    """Run ``argv`` as root in the container with this ID and return what it printed.

    By podman's runtime itself, at a seventh of podman's time: tests do it thousands of times.
    """
    return command(*_entrance(), "crun", "exec", identity, *argv, stdin="", ok=ok)


def clean() -> None:
    """Remove the caches and the namespace; only when no lab's container is left."""
    if _mounted(NAMESPACE):
        command("umount", str(NAMESPACE), ok=False)
    if _mounted(RUN):
        command("umount", str(RUN), ok=False)
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.rmtree(CACHE, ignore_errors=True)
