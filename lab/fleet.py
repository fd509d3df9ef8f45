"""Fleets of hosts: one network, one container per host, reached by SSH like any other machine.

A lab is named for its release and its checkout, so two checkouts can each have one. All it knows is
under ``.lab/<name>/``: the key, the host keys and an inventory that joins ``inventories/lab``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from lab import flavors, images, machine
from lab.machine import LabError, command, podman, say

CHECKOUT = Path(__file__).resolve().parent.parent
FLEETS = {
    "postgresql": ("pg1", "pg2", "backup1", "drill1"),
    "redis": ("redis1", "redis2", "backup2", "drill2"),
    "mysql": ("mysql1", "mysql2", "backup3", "drill3"),
}
_ALL = tuple(host for hosts in FLEETS.values() for host in hosts)
_SUBNET = "10.117.{slot}"
_PACKAGES = "dbops-packages"
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
START_SECONDS = 180  # three, on a machine with nothing else to do


@dataclass(frozen=True)
class Lab:
    """One fleet. ``name`` is what the user calls it; ``prefix`` makes it unique on the machine.

    It has the hosts of ``engines``, and ``more`` ones, which may be added to a lab that is up, of
    another release if wanted. A host's address is the same whichever others there are.
    """

    name: str
    release: str
    engines: tuple[str, ...] = ("postgresql",)
    more: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts."""
        return (*(host for engine in self.engines for host in FLEETS[engine]), *self.more)

    @property
    def prefix(self) -> str:
        """What the names of this lab's containers start with."""
        digest = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]
        return f"dbops-{digest}-{self.name}"

    @property
    def state(self) -> Path:
        """The folder of everything the lab knows."""
        return CHECKOUT / ".lab" / self.name

    def container(self, host: str) -> str:
        """Return the container of ``host``; LabError when the lab has no such host."""
        if host not in self.hosts:
            raise LabError(f"no host {host!r} in this lab: it has {', '.join(self.hosts)}.")
        return f"{self.prefix}-{host}"

    def address(self, host: str) -> str:
        """Return the address of ``host``."""
        subnet = (self.state / "subnet").read_text().strip()
        return f"{subnet}.{11 + (*_ALL, *self.more).index(host)}"

    def hardware_address(self, host: str) -> str:
        """Return the MAC address of ``host``, which it keeps when it is started again.

        With another one nobody would reach it until they had forgotten the former: a minute.
        """
        return "02:00:" + ":".join(f"{int(part):02x}" for part in self.address(host).split("."))


def engines(name: str) -> tuple[str, ...]:
    """Return the engines whose hosts the lab called ``name`` was made with last; none if new."""
    inventory = Lab(name, "").state / "inventory"
    return tuple(engine for engine in FLEETS if (inventory / f"{engine}.yml").is_symlink())


def up(lab: Lab) -> None:
    """Bring the lab to life: what runs is kept, what is missing or dead is made anew."""
    machine.prepare()
    image = images.ensure(lab.release)
    lab.state.mkdir(parents=True, exist_ok=True)
    os.chmod(lab.state, 0o700)
    _ensure_key(lab)
    with machine.turn("networks"):
        _ensure_network(lab)
    running = set(podman("ps", "--format", "{{.Names}}").split())
    started = [host for host in lab.hosts if lab.container(host) not in running]
    if started:
        say(f"starting {', '.join(started)} ({lab.release})")
    for host in started:
        _create(lab, host, image)
    _note_identities(lab)
    for host in lab.hosts:
        _wait(lab, host)
    _write_inventory(lab)


def inside(lab: Lab, host: str, *argv: str, ok: bool = True) -> str:
    """Run ``argv`` as root on ``host`` without SSH and return what it printed."""
    identities: dict[str, str] = json.loads((lab.state / "identities").read_text())
    return machine.inside(identities[lab.container(host)], *argv, ok=ok)


def down(lab: Lab) -> None:
    """Remove the lab's hosts, added ones too, and its network. Images and caches stay."""
    machine.prepare()
    label = f"label=dbops-lab={lab.prefix}"
    containers = podman("ps", "--all", "--quiet", "--filter", label).split()
    _remove(containers)
    podman("network", "rm", "--force", lab.prefix, ok=False)
    shutil.rmtree(lab.state, ignore_errors=True)


def remove(lab: Lab, hosts: tuple[str, ...]) -> None:
    """Remove some of the lab's hosts; what is left goes on."""
    _remove([lab.container(host) for host in hosts])


def _remove(containers: list[str]) -> None:
    """Remove containers; podman fails for one that is just ending by itself, and is asked again."""
    for last in (False, False, True):
        try:
            if containers:
                podman("rm", "--force", "--time", "2", "--ignore", *containers)
        except LabError:
            if last:
                raise
            time.sleep(1)
        else:
            return


def clean() -> None:
    """Remove every lab of this checkout; images and caches, too, when no other checkout has one."""
    machine.prepare()
    own = Lab("", "").prefix
    names = podman("ps", "--all", "--format", "{{.Names}}").split()
    mine = [name for name in names if name.startswith(own)]
    _remove(mine)
    for network in podman("network", "ls", "--format", "{{.Name}}").split():
        if network.startswith(own):
            podman("network", "rm", "--force", network)
    shutil.rmtree(CHECKOUT / ".lab", ignore_errors=True)
    if any(name.startswith("dbops-") and name not in mine for name in names):
        say("another checkout has a lab here: images and caches stay")
        return
    for image in podman("images", "--quiet", "localhost/dbops-lab").split():
        podman("rmi", "--force", image, ok=False)
    machine.clean()


def _ensure_key(lab: Lab) -> None:
    if not (lab.state / "id_ed25519").exists():
        command(
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "dbops-lab",
            "-f",
            str(lab.state / "id_ed25519"),
        )


def _ensure_network(lab: Lab) -> None:
    """Make the lab's network in a subnet of its own."""
    note = lab.state / "subnet"
    existing = podman("network", "ls", "--format", "{{.Name}}").split()
    if lab.prefix in existing:
        found = json.loads(podman("network", "inspect", lab.prefix))[0]["subnets"][0]["subnet"]
        note.write_text(found.rsplit(".", 1)[0])
        return
    for slot in range(1, 250):
        subnet = _SUBNET.format(slot=slot)
        created = podman("network", "create", lab.prefix, "--subnet", f"{subnet}.0/24", ok=False)
        if created.strip():
            note.write_text(subnet)
            return
    raise LabError("no free subnet in 10.117.0.0/16: remove networks with 'podman network prune'.")


def _create(lab: Lab, host: str, image: str) -> None:
    name = lab.container(host)
    _remove([name])
    # From the choice of a folder until it shows as taken: another lab would choose it, too.
    with machine.turn("packages"):
        packages = _package_folder(lab.release, host)
        podman(
            "run",
            "--detach",
            "--name",
            name,
            "--hostname",
            host,
            "--privileged",
            "--runtime",
            "crun",
            "--systemd=always",
            "--pids-limit=-1",
            "--network",
            lab.prefix,
            "--network-alias",
            host,
            "--ip",
            lab.address(host),
            "--mac-address",
            lab.hardware_address(host),
            "--label",
            f"dbops-lab={lab.prefix}",
            "--label",
            f"{_PACKAGES}={packages}",
            "--volume",
            f"{packages}/archives:/var/cache/apt/archives",
            "--volume",
            f"{packages}/lists:/var/lib/apt/lists",
            image,
        )


def _note_identities(lab: Lab) -> None:
    """Note which container each host is, as the runtime calls it; made anew it is another."""
    rows = podman("ps", "--no-trunc", "--format", "{{.Names}} {{.ID}}").splitlines()
    found = dict(row.split() for row in rows)
    names = [lab.container(host) for host in lab.hosts]
    if ended := [name for name in names if name not in found]:
        raise LabError(
            f"{len(ended)} hosts ended when they had just been started, {ended[0]} first: "
            f"see 'python3 -m lab podman logs {ended[0]}'. With many hosts at once, raise "
            f"fs.inotify.max_user_instances ({_INOTIFY.read_text().strip()}): each takes about six."
        )
    mine = {name: found[name] for name in names}
    (lab.state / "identities").write_text(json.dumps(mine))


def _package_folder(release: str, host: str) -> Path:
    """Return a folder for what apt downloads, which no host has, be it up or not."""
    found = podman("ps", "--all", "--format", f'{{{{index .Labels "{_PACKAGES}"}}}}')
    taken = set(found.splitlines())
    for number in range(1, 20):
        folder = machine.CACHE / "apt" / release / f"{host}-{number}"
        if str(folder) not in taken:
            for part in ("archives", "lists"):
                (folder / part / "partial").mkdir(parents=True, exist_ok=True)
            # New, or emptied by the host before: apt's module would take it for fresh lists.
            if not any((folder / "lists").glob("*Release")):
                os.utime(folder / "lists", (0, 0))
            return folder
    raise LabError(f"twenty labs already use a package cache for {host}.")


def _wait(lab: Lab, host: str) -> None:
    name = lab.container(host)
    public = (lab.state / "id_ed25519.pub").read_text()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = inside(lab, host, "systemctl", "is-system-running", ok=False).strip()
        if state in ("running", "degraded"):
            break
        time.sleep(0.3)
    else:
        raise LabError(
            f"{host} did not start within {START_SECONDS} s: "
            f"see 'python3 -m lab podman logs {name}'."
        )
    home = f"/home/{images.ADMIN}/.ssh"
    script = (
        "ssh-keygen -A >/dev/null; systemctl reset-failed ssh || true; systemctl start ssh; "
        f"install -d -m 0700 -o {images.ADMIN} -g {images.ADMIN} {home}; "
        f"echo '{public.strip()}' > {home}/authorized_keys; "
        f"chown {images.ADMIN}: {home}/authorized_keys; chmod 0600 {home}/authorized_keys"
    )
    inside(lab, host, "sh", "-ec", script)


def _write_inventory(lab: Lab) -> None:
    known = []
    for host in lab.hosts:
        key = inside(lab, host, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        known.append(f"{lab.address(host)} {' '.join(key.split()[:2])}\n")
    (lab.state / "known_hosts").write_text("".join(known))
    folder = lab.state / "inventory"
    folder.mkdir(exist_ok=True)
    for link in folder.glob("*"):
        if link.is_symlink():
            link.unlink()
    for part in (*(f"{engine}.yml" for engine in lab.engines), "group_vars"):
        (folder / part).symlink_to(CHECKOUT / "inventories" / "lab" / part)
    # The last file read wins: addresses and keys of this lab over the static inventory.
    lines = [
        "all:",
        "  vars:",
        f"    ansible_user: {images.ADMIN}",
        f"    ansible_ssh_private_key_file: {lab.state / 'id_ed25519'}",
        "    ansible_ssh_common_args: >-",
        f"      -o UserKnownHostsFile={lab.state / 'known_hosts'} -o StrictHostKeyChecking=yes",
        f"    dbops_secrets_dir: {lab.state / 'secrets'}",
        "  hosts:",
    ]
    for host in lab.hosts:
        lines += [f"    {host}:", f"      ansible_host: {lab.address(host)}"]
    (folder / "zz_addresses.yml").write_text("\n".join(lines) + "\n")
    if "redis" in lab.engines:
        flavors.write_redis(folder)
    if "mysql" in lab.engines:
        first = FLEETS["mysql"][0]
        flavors.write(folder, lambda line: inside(lab, first, "sh", "-c", line))


def ssh_argv(lab: Lab, host: str) -> list[str]:
    """Return the words of an SSH command line to ``host``, host key checked, nothing asked."""
    return [
        "ssh",
        "-i",
        str(lab.state / "id_ed25519"),
        "-o",
        "BatchMode=yes",
        "-o",
        f"UserKnownHostsFile={lab.state / 'known_hosts'}",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "LogLevel=ERROR",
        f"{images.ADMIN}@{lab.address(host)}",
        "--",
    ]
