"""Base images: a minimal Debian with systemd, sshd, sudo and Python, as a new VM would have.

Made by mmdebstrap from the machine's own mirror, so no image registry is needed; kept in podman's
store under a tag that changes with the recipe.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from lab.machine import CACHE, LabError, command, podman, say, turn

RELEASES = ("bookworm", "trixie")
INCLUDE = (
    "systemd,systemd-sysv,dbus,libpam-systemd,python3,python3-apt,openssh-server,sudo,"
    "iproute2,ca-certificates,procps"
)
ADMIN = "ops"
SETUP = f"""
useradd --create-home --shell /bin/bash {ADMIN}
echo '{ADMIN} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{ADMIN}
chmod 0440 /etc/sudoers.d/{ADMIN}
rm -f /etc/ssh/ssh_host_*
printf 'PermitRootLogin no\\nPasswordAuthentication no\\nUseDNS no\\n' \
> /etc/ssh/sshd_config.d/lab.conf
systemctl mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer
"""


def tag(release: str) -> str:
    """Return the name of the image for ``release``."""
    recipe = hashlib.sha256((INCLUDE + SETUP).encode()).hexdigest()[:10]
    return f"localhost/dbops-lab:{release}-{recipe}"


def ensure(release: str) -> str:
    """Build the image of ``release`` unless it is there; return its name."""
    if release not in RELEASES:
        raise LabError(f"unknown release {release!r}: it is one of {', '.join(RELEASES)}.")
    name = tag(release)
    with turn(f"image-{release}"):
        if not podman("images", "--quiet", name).strip():
            _build(release, name)
    return name


def _build(release: str, name: str) -> None:
    say(f"building the {release} image (about half a minute)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        archive = Path(folder) / "base.tar"
        command(
            "mmdebstrap",
            "--variant=minbase",
            f"--include={INCLUDE}",
            f"--customize-hook=chroot \"$1\" sh -ec '{_quoted(SETUP)}'",
            release,
            str(archive),
        )
        podman(
            "import",
            "--change",
            'CMD ["/lib/systemd/systemd"]',
            "--change",
            "STOPSIGNAL=SIGRTMIN+3",
            str(archive),
            name,
        )


def _quoted(text: str) -> str:
    return text.replace("'", "'\\''")
