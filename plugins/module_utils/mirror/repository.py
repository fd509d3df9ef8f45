"""The apt repository under a mirror's home: reprepro's, signed with a key made on this host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .packages import Host, MirrorError, Package, digest, newer

_FINGERPRINT = re.compile(r"^fpr:+([0-9A-F]{40}):", re.M)
_CONF = """\
# Managed by dbops.
Origin: dbops
Label: dbops mirror
Codename: {suite}
Suite: {suite}
Architectures: {architecture}
Components: {component}
Description: Packages for hosts without a way to the internet
SignWith: {fingerprint}
"""


class Here:
    """Commands on this host, with words that do not depend on its language."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def run(self, *argv: str) -> str:
        status, out, err = self._module.run_command(
            list(argv), environ_update={"LC_ALL": "C"}, cwd="/"
        )
        if status != 0:
            said = [line for line in err.strip().splitlines() if line] or ["it gave no reason"]
            raise MirrorError(f"{argv[0]} failed: {said[-1].removeprefix('E: ')}")
        return out

    def holds(self, *argv: str) -> bool:
        return self._module.run_command(list(argv))[0] == 0


@dataclass(frozen=True)
class Repository:
    """Where the repository is and what hosts will call it."""

    host: Host
    home: str
    suite: str
    component: str
    architecture: str

    @classmethod
    def of(cls, host: Host, given: dict[str, Any]) -> Repository:
        """Return the repository that a module's parameters tell of."""
        architecture = host.run("dpkg", "--print-architecture").strip()
        return cls(host, given["home"], given["suite"], given["component"], architecture)

    @property
    def public(self) -> str:
        """The folder that is served."""
        return os.path.join(self.home, "public")

    @property
    def index(self) -> str:
        """The list of packages as apt reads it."""
        where = (self.suite, self.component, f"binary-{self.architecture}", "Packages")
        return os.path.join(self.public, "dists", *where)

    def held(self) -> dict[str, Package]:
        """Return what the repository holds, by name; the digests are those of the files."""
        found = {}
        for part in _read(self.index).split("\n\n"):
            fields = dict(re.findall(r"^(\S+): (.*)$", part, re.M))
            if fields:
                path = os.path.join(self.public, fields["Filename"])
                held = digest(path) if os.path.exists(path) else ""
                found[fields["Package"]] = Package(fields["Package"], fields["Version"], held, path)
        return found

    def hold(self, wanted: dict[str, Package], name: str) -> None:
        """Bring the repository to exactly ``wanted``, signed by the key called ``name``."""
        renewed = self._configure(self._key(name))
        held = self.held()
        added = [one for one in wanted.values() if not _same(held.get(one.name), one)]
        # A newer version takes the place of the one before by itself, and is never missing.
        gone = [
            one
            for one in held.values()
            if one.name not in wanted
            or not (
                _same(one, wanted[one.name])
                or newer(self.host, wanted[one.name].version, one.version)
            )
        ]
        if gone:
            self._reprepro("remove", self.suite, *(one.name for one in gone))
        if added:
            given = ("--component", self.component, "--section", "misc", "--priority", "optional")
            self._reprepro(*given, "includedeb", self.suite, *(one.path for one in added))
        if renewed or not os.path.exists(self.index):
            self._reprepro("export")

    def key(self) -> str:
        """Return the public part of the signing key, empty before there is one."""
        return _read(os.path.join(self.public, "mirror.asc"))

    def sign(self, path: str) -> None:
        """Write ``PATH.asc``: the text of ``path`` and its signature."""
        self._gpg("--yes", "--clear-sign", "--output", f"{path}.asc", path)

    def rest(self) -> None:
        """End what gpg left running."""
        self.host.run("gpgconf", "--homedir", self._keys, "--kill", "all")

    @property
    def _keys(self) -> str:
        return os.path.join(self.home, "gnupg")

    def _key(self, name: str) -> str:
        """Return the fingerprint of the signing key, which is made when there is none."""
        found = self._fingerprint()
        if found is None:
            # It signs while nobody is there, so it has no passphrase; only its account reads it.
            never = ("--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
            self._gpg(*never)
            found = self._fingerprint()
        if found is None:
            raise MirrorError(f"gpg made no key in {self._keys}")
        public = os.path.join(self.public, "mirror.asc")
        if not os.path.exists(public):
            self._gpg("--yes", "--armor", "--output", public, "--export", found)
        return found

    def _fingerprint(self) -> str | None:
        listed = self._gpg("--with-colons", "--list-secret-keys")
        found = _FINGERPRINT.search(listed)
        return found[1] if found else None

    def _configure(self, fingerprint: str) -> bool:
        """Tell reprepro about the repository; return whether that is news to it."""
        path = os.path.join(self.home, "conf", "distributions")
        values = {"suite": self.suite, "architecture": self.architecture}
        text = _CONF.format(**values, component=self.component, fingerprint=fingerprint)
        before = _read(path)
        if before == text:
            return False
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        if before:
            self._reprepro("--delete", "clearvanished")
        return True

    def _gpg(self, *argv: str) -> str:
        return self.host.run("gpg", "--homedir", self._keys, "--batch", *argv)

    def _reprepro(self, *argv: str) -> str:
        given = ("--basedir", self.home, "--outdir", self.public, "--gnupghome", self._keys)
        return self.host.run("reprepro", "--silent", "--silent", *given, *argv)


def _same(one: Package | None, other: Package) -> bool:
    return one is not None and (one.version, one.sha256) == (other.version, other.sha256)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
