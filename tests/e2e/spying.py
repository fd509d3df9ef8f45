"""What an attentive reader of command lines, logs and files would find of a secret."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.machine import command, podman_argv
from tests.e2e.hosts import Site

_LOOKS = 6  # a new process is read this often, since its words change when it executes a program
_AGAIN = 200  # rounds until an old one is read again


def _sample(stop: Path, found: Path) -> None:
    """Append every command line seen on this machine, its containers' too, until told to end."""
    looks: dict[int, int] = {}
    lines: set[bytes] = set()
    rounds = 0
    while not stop.exists():
        rounds += 1
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        looks = {pid: looks.get(pid, 0) for pid in pids}
        for pid in pids:
            if looks[pid] >= _LOOKS and (pid + rounds) % _AGAIN:
                continue
            looks[pid] += 1
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as stream:
                    lines.add(stream.read().replace(b"\0", b" "))
            except OSError:
                continue  # it has ended
        time.sleep(0.003)
    found.touch(mode=0o600)
    found.write_bytes(b"\n".join(sorted(lines)))


@contextmanager
def watching(folder: Path) -> Iterator[Path]:
    """Sample command lines while the block runs; afterwards they are in the file returned."""
    stop, found = folder / "stop", folder / "command-lines"
    process = subprocess.Popen([sys.executable, "-m", "tests.e2e.spying", str(stop), str(found)])
    time.sleep(0.5)
    try:
        yield found
    finally:
        stop.touch()
        process.wait(timeout=30)
        stop.unlink()


def disguises(secret: str) -> list[str]:
    """Return a secret as it is, and inside base64 whatever stands before it."""
    forms = [secret]
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + secret.encode()).decode()
        forms.append(coded[4 if shift else 0 : len(coded) // 4 * 4 - 4])
    return forms


def lines_with(text: str, secrets: Iterable[str]) -> list[str]:
    """Return the lines of ``text`` that hold a secret, shortened around it."""
    forms = [form for secret in secrets for form in disguises(secret)]
    return [
        line[max(0, line.index(form) - 120) : line.index(form) + 8]
        for line in text.splitlines()
        for form in forms
        if form in line
    ]


def keys(site: Site, host: str) -> list[str]:
    """Return a line of each private key that ``host`` shows its certificates with."""
    script = "for key in $(find /etc/dbops/tls -name '*.key'); do sed -n 2p $key; done"
    return site.root(host, script).split()


def shown(keys: dict[str, str]) -> list[str]:
    """Return what a search finds of keys: each is open to the group that shows it, by name."""
    return [f"/etc/dbops/tls/{name}.key 640 root:{group}" for name, group in keys.items()]


def on_host(site: Site, host: str, secrets: Iterable[str]) -> tuple[list[str], list[str]]:
    """Search a host for secrets.

    Returns the files with any that their group or others may read, as ``path mode owner:group``,
    and the journal's and logs' places that hold one, whoever may read those.
    """
    patterns = "\n".join(secrets)
    # By its standard input: a command line would give it away.
    command(
        *podman_argv(), "exec", "-i", site.lab.container(host), "bash", "-c",
        "umask 077; mkdir -p /run/spying; cat > /run/spying/words", stdin=patterns + "\n",
    )  # fmt: skip
    try:
        loose = site.root(
            host,
            "for root in / /run /tmp /dev/shm /var/tmp; do find $root -xdev -type f -perm /044 "
            "-print0; done | sort -zu | xargs -0r grep -lFf /run/spying/words -- 2>/dev/null "
            "| xargs -r -d '\\n' stat -c '%n %a %U:%G'; true",
        )
        logs = site.root(
            host,
            # Whatever the secret was: a module that was given one has told the journal.
            "journalctl --no-pager -o export 2>/dev/null "
            "| grep -aFf /run/spying/words -e \"'secret': True\" "
            "| cut -c1-200; grep -rlaFf /run/spying/words /var/log 2>/dev/null; true",
        )
    finally:
        site.root(host, "rm -rf /run/spying")
    return sorted(loose.splitlines()), sorted(logs.splitlines())


def on_controller(folders: Iterable[Path], secrets: Iterable[str], since: float) -> list[str]:
    """Return the files younger than ``since`` that others than their owner may read."""
    forms = [secret.encode() for secret in secrets]
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                status = path.lstat()
                young = status.st_mtime >= since and path.is_file() and not path.is_symlink()
                if young and status.st_mode & 0o044 and status.st_size < 50_000_000:
                    content = path.read_bytes()
                    found += [str(path) for form in forms if form in content]
            except OSError:
                continue  # gone meanwhile
    return found


if __name__ == "__main__":
    _sample(Path(sys.argv[1]), Path(sys.argv[2]))
