"""A mirror on a host of its own, a host that installs from it, and another mirror out of one file.

The packages and wheels are made here: nothing but the distribution's own packages is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab import faults, fleet
from lab.fleet import CHECKOUT, Lab
from tests.e2e.hosts import Play

PACKAGE = "dbops-probe"
OWN = "hello"  # of the distribution's own packages one of the smallest
HOME = "/var/lib/dbops-mirror"
INSTALL = """
- name: Install a package from a mirror
  hosts: client
  become: true
  tasks:
    - name: Do what each engine's role does
      ansible.builtin.import_role:
        name: dbops
        tasks_from: host_packages
        rolespec_validate: false
      vars:
        __dbops_apt_repository: "{{ repository }}"
        __dbops_packages: [dbops-probe]
        __dbops_sysusers: []
        __dbops_accounts: []
        __dbops_directories: []
        __dbops_files: []
"""


@dataclass(frozen=True)
class Mirrors:
    """Two hosts, and the folder on the controller that the first one's mirror is made from."""

    lab: Lab
    folder: Path
    given: dict[str, Any]

    def play(self, book: Path, group: str, host: str, given: dict[str, Any], *words: str) -> Play:
        """Play a book on one host, which is in ``group`` with the variables ``given``."""
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({group: {"hosts": {host: None}, "vars": given}}))
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [str(program), "-i", str(self.lab.state / "inventory"), "-i", str(inventory),
             str(book), *words],
            cwd=CHECKOUT, text=True, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                 "ANSIBLE_ROLES_PATH": str(CHECKOUT / "roles"), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_STRATEGY": "dbops_fast"},
        )  # fmt: skip
        return Play(done.returncode, done.stdout)

    def mirror(self, host: str = "mirror1", *words: str, **more: Any) -> Play:
        """Play mirror.yml on ``host``."""
        book = CHECKOUT / "playbooks" / "mirror.yml"
        return self.play(book, "mirrors", host, self.given | more, *words)

    def install(self, key: str) -> Play:
        """Let ``client1`` install the package from ``mirror1``, whose key is ``key``."""
        book = self.folder / "install.yml"
        book.write_text(INSTALL)
        address = self.lab.address("mirror1")
        repository = {"uri": f"http://{address}", "suite": "bookworm", "key": key}
        return self.play(book, "client", "client1", {"repository": repository})

    def on(self, host: str, script: str, ok: bool = True) -> str:
        """Run a shell script as root on a host."""
        return faults.on(self.lab, host, script, ok=ok).strip()


def package(folder: Path, version: str, word: str) -> None:
    """Make a package that holds one word."""
    tree = folder.parent / "tree"
    held = tree / "usr" / "share" / PACKAGE
    held.mkdir(parents=True, exist_ok=True)
    (held / "word").write_text(word)
    (tree / "DEBIAN").mkdir(exist_ok=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: dbops <dbops@example.invalid>\nDescription: a probe\n"
    )
    target = folder / f"{PACKAGE}_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrors]:
    """Return two bare hosts that know the distribution's lists, and what the mirror shall hold."""
    folder = tmp_path_factory.mktemp("mirror")
    for name in ("packages", "wheels"):
        (folder / name).mkdir()
    package(folder / "packages", "1.0", "one")
    package(folder / "packages", "0.9", "older")
    with zipfile.ZipFile(folder / "wheels" / "probe-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("probe.py", "")
    name = f"{os.environ.get('DBOPS_LAB', 'test')}-mirror"
    lab = Lab(name, "bookworm", (), ("mirror1", "client1"))
    given = {
        "mirror_key_file": str(folder / "mirror.asc"),
        "mirror_packages_dir": str(folder / "packages"),
        "mirror_wheels_dir": str(folder / "wheels"),
        "mirror_distribution_packages": [OWN],
        "mirror_bundle_to": str(folder / "bundle.tar"),
    }
    try:
        fleet.up(lab)
        yield Mirrors(lab, folder, given)
    finally:
        fleet.down(lab)


@pytest.fixture(scope="module")
def made(mirrors: Mirrors) -> Play:
    """Return how the mirror's first play went; a dry run came before it."""
    mirrors.on("mirror1", "apt-get update --quiet")
    dry = mirrors.mirror("mirror1", "--check", "--diff")
    assert dry.status == 0, dry.last_lines
    assert f"+{PACKAGE}_1.0_all.deb" in dry.output
    assert f"+{OWN}_" in dry.output
    assert mirrors.on("mirror1", f"ls -d {HOME} || id dbops-mirror || echo none").endswith("none")
    assert not (mirrors.folder / "mirror.asc").exists()
    play = mirrors.mirror()
    assert play.status == 0, play.last_lines
    return play


def test_a_second_run_changes_nothing(mirrors: Mirrors, made: Play) -> None:
    again = mirrors.mirror()
    assert again.status == 0, again.last_lines
    assert again.changes == []


def test_the_secret_part_of_the_key_stays(mirrors: Mirrors, made: Play) -> None:
    assert "PRIVATE KEY" not in made.output
    assert "PRIVATE KEY" not in (mirrors.folder / "mirror.asc").read_text()
    assert mirrors.on("mirror1", f"stat -c '%U %a' {HOME}/gnupg") == "dbops-mirror 700"
    served = mirrors.on("mirror1", f"find {HOME}/public -name '*gnupg*' -o -name '*.key'")
    assert served == ""


def test_a_host_installs_what_the_key_signed_for_and_nothing_else(
    mirrors: Mirrors, made: Play
) -> None:
    play = mirrors.install((mirrors.folder / "mirror.asc").read_text())
    assert play.status == 0, play.last_lines
    assert mirrors.on("client1", f"cat /usr/share/{PACKAGE}/word") == "one"
    mirrors.on("mirror1", f"printf x >> {HOME}/public/pool/main/d/{PACKAGE}/{PACKAGE}_1.0_all.deb")
    damaged = mirrors.on(
        "client1", f"rm -f /var/cache/apt/archives/{PACKAGE}_*; "
        f"apt-get install --quiet --yes --reinstall {PACKAGE} 2>&1 || echo failed", ok=False,
    )  # fmt: skip
    assert damaged.endswith("failed")
    assert "unexpected size" in damaged or "Hash Sum mismatch" in damaged, damaged
    another = mirrors.on(
        "mirror1",
        "export GNUPGHOME=$(mktemp -d); gpg --quiet --batch --passphrase '' --quick-generate-key"
        " other ed25519 sign never 2>/dev/null; gpg --armor --export; gpgconf --kill all",
    )
    mirrors.on("client1", f"echo '{another}' > /etc/apt/keyrings/dbops.asc")
    refused = mirrors.on("client1", "apt-get update 2>&1", ok=False)
    assert "NO_PUBKEY" in refused


def test_a_damaged_file_is_replaced(mirrors: Mirrors, made: Play) -> None:
    served = f"{HOME}/public/pool/main/d/{PACKAGE}/{PACKAGE}_1.0_all.deb"
    before = (mirrors.folder / "packages" / f"{PACKAGE}_1.0_all.deb").read_bytes()
    mirrors.on("mirror1", f"printf x >> {served}")
    play = mirrors.mirror()
    assert [change.partition(" on ")[0] for change in play.changes] == [
        "mirror : Hold these packages and wheels, and no others"
    ]
    found = mirrors.on("mirror1", f"sha256sum {served}").split()[0]
    assert found == hashlib.sha256(before).hexdigest()


def test_one_file_makes_another_mirror(mirrors: Mirrors, made: Play) -> None:
    bundle = mirrors.folder / "bundle.tar"
    value = hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert (mirrors.folder / "bundle.tar.sha256").read_text() == f"{value}  bundle.tar\n"
    far = replace(mirrors, given={
        "mirror_key_file": str(mirrors.folder / "far.asc"), "mirror_bundle": str(bundle),
    })  # fmt: skip
    torn = far.mirror("client1", mirror_bundle_sha256="0" * 64)
    assert torn.status != 0
    assert "it is torn or another one" in torn.said
    play = far.mirror("client1", mirror_bundle_sha256=value)
    assert play.status == 0, play.last_lines
    listed = f"{HOME}/public/dists/bookworm/main/binary-amd64/Packages"
    names = mirrors.on("client1", f"grep ^Package: {listed}")
    assert f"Package: {PACKAGE}" in names
    assert f"Package: {OWN}" in names
    shelf = f"cd {HOME}/public/wheels && sha256sum --check --quiet SHA256SUMS && ls *.whl"
    assert mirrors.on("client1", shelf) == "probe-1.0-py3-none-any.whl"
    assert (mirrors.folder / "far.asc").read_text() != (mirrors.folder / "mirror.asc").read_text()


def test_what_is_taken_out_of_the_folder_leaves_the_mirror(mirrors: Mirrors, made: Play) -> None:
    package(mirrors.folder / "packages", "1.1", "two")
    (mirrors.folder / "wheels" / "probe-1.0-py3-none-any.whl").unlink()
    play = mirrors.mirror(mirror_distribution_packages=[])
    assert play.status == 0, play.last_lines
    held = mirrors.on("mirror1", f"find {HOME}/public -name '*.deb' -o -name '*.whl'")
    assert [Path(path).name for path in held.splitlines()] == [f"{PACKAGE}_1.1_all.deb"]
