"""Faults on demand, on a lab's hosts: kill, freeze, cut off, fill a disk. Each can be undone.

For the tests and for trying things out by hand; nothing here knows a database.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.fleet import Lab, inside, ssh_argv
from lab.machine import LabError, podman

_REACHED_SECONDS = 60.0


def on(lab: Lab, host: str, script: str, ok: bool = True) -> str:
    """Run a shell script as root on ``host`` without SSH and return what it printed."""
    return inside(lab, host, "bash", "-c", script, ok=ok)


def kill(lab: Lab, host: str) -> None:
    """Cut the power of ``host``: every process gone at once, the disk as it was."""
    podman("kill", lab.container(host))


def start(lab: Lab, host: str) -> None:
    """Power ``host`` on again; LabError unless it lets its administrator in within a minute."""
    podman("start", lab.container(host))
    on(
        lab,
        host,
        "for i in $(seq 100); do systemctl is-system-running | grep -qE 'running|degraded' "
        "&& break; sleep 0.2; done; systemctl reset-failed ssh || true; systemctl start ssh",
    )
    deadline = time.monotonic() + _REACHED_SECONDS
    knock = [*ssh_argv(lab, host), "true"]
    while subprocess.run(knock, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise LabError(f"{host} was started and lets nobody in by SSH.")
        time.sleep(0.5)


@contextmanager
def frozen(lab: Lab, host: str) -> Iterator[None]:
    """Freeze every process of ``host`` while the block runs: no answers, and nothing is lost."""
    podman("pause", lab.container(host))
    try:
        yield
    finally:
        podman("unpause", lab.container(host))


@contextmanager
def cut(lab: Lab, host: str, other: str) -> Iterator[None]:
    """Cut the network between two hosts while the block runs; packets vanish without an answer."""
    pairs = ((host, lab.address(other)), (other, lab.address(host)))
    for here, address in pairs:
        on(lab, here, f"ip route replace blackhole {address}/32")
    try:
        yield
    finally:
        for here, address in pairs:
            on(lab, here, f"ip route del blackhole {address}/32", ok=False)


@contextmanager
def small_disk(lab: Lab, host: str, path: str, megabytes: int) -> Iterator[None]:
    """Put ``path`` of ``host``, with what it holds, on a disk of its own of ``megabytes``.

    What stands there at the end of the block is copied back.
    """
    side = f"/run/small-disk{path.replace('/', '-')}"
    on(
        lab,
        host,
        f"set -e; mkdir -p {side}; mount -t tmpfs -o size={megabytes}m tmpfs {side}; "
        f"cp -a {path}/. {side}/; chmod --reference={path} {side}; "
        f"chown --reference={path} {side}; mount --bind {side} {path}",
    )
    try:
        yield
    finally:
        on(
            lab,
            host,
            f"set -e; umount -l {path}; find {path} -mindepth 1 -delete; "
            f"cp -a {side}/. {path}/; umount -l {side}; rmdir {side}",
        )


def fill(lab: Lab, host: str, path: str) -> None:
    """Leave no room on the file system of ``path``."""
    on(
        lab,
        host,
        f"dd if=/dev/zero of={path}/fill bs=1M 2>/dev/null; "
        f"dd if=/dev/zero of={path}/fill2 bs=4k 2>/dev/null; true",
    )


def relieve(lab: Lab, host: str, path: str) -> None:
    """Take back what :func:`fill` wrote."""
    on(lab, host, f"rm -f {path}/fill {path}/fill2")
