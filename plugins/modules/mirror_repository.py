#!/usr/bin/python
"""Bring a signed apt repository, and the wheels beside it, to exactly what is named."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_repository
short_description: Hold exactly these packages and wheels in a mirror
description:
  - Makes the signing key on this host when there is none. Its secret part never leaves the host.
  - Holds the newest of each package that is named, takes out what is not, and signs the lists.
  - Runs as the mirror's account; in check mode, as any.
options:
  home: {description: Home of the mirror., type: path, required: true}
  suite: {description: Name of the suite., type: str, required: true}
  component: {description: Name of the component., type: str, default: main}
  signer: {description: Name that the signing key gets., type: str, required: true}
  packages: {description: Files of C(incoming/packages)., type: list, elements: str, default: []}
  wheels: {description: Files of C(incoming/wheels)., type: list, elements: str, default: []}
  distribution:
    description: Packages of this host's own distribution, held with all that they need.
    type: list
    elements: str
    default: []
  bundle: {description: Hold what a bundle brought as well., type: bool, default: false}
author: dbops
"""

EXAMPLES = r"""
- name: Hold the packages
  mirror_repository:
    home: /var/lib/dbops-mirror
    suite: bookworm
    signer: mirror1
    packages: [mongodb-org-server_6.0.5_amd64.deb]
    distribution: [redis-server]
"""

RETURN = r"""
key:
  description: Public part of the signing key, in ASCII armour.
  type: str
  returned: always
held:
  description: What the mirror holds, a line for each.
  type: list
  elements: str
  returned: always
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mirror import bundle
from ansible.module_utils.mirror.packages import Distribution, MirrorError, Package, newest, read
from ansible.module_utils.mirror.repository import Here, Repository

_PENDING = "(not here yet)"


def _files(folder: str) -> dict[str, str]:
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return {name: os.path.join(folder, name) for name in names}


class Mirror:
    """What is wanted, what is there, and the way from one to the other."""

    def __init__(self, module: AnsibleModule) -> None:
        self.given, self.check = module.params, module.check_mode
        self.host = Here(module)
        self.home = self.given["home"]
        self.repository = Repository.of(self.host, self.given)
        self.distribution = Distribution(self.host, os.path.join(self.home, "distribution"))
        self.names = self.distribution.names(self.given["distribution"])

    def _sources(self, kind: str) -> dict[str, str]:
        """Return the named files of a kind, paths by names; a bundle's come last."""
        folder = os.path.join(self.home, "incoming", kind)
        named = {name: os.path.join(folder, name) for name in self.given[kind]}
        packed = os.path.join(self.home, "build", "bundle", kind)
        return {**(_files(packed) if self.given["bundle"] else {}), **named}

    def packages(self) -> dict[str, Package]:
        """Return the packages that are wanted, by name; in check mode some by their files."""
        paths = list(self._sources("packages").values())
        paths += [os.path.join(self.distribution.folder, name) for name in self.names]
        if self.check:
            missing = [path for path in paths if not os.path.exists(path)]
            pending = {path: os.path.basename(path) for path in missing}
            there = [path for path in paths if path not in pending]
            found = self._newest(there)
            return found | {
                name: Package(name, _PENDING, "", path) for path, name in pending.items()
            }
        return self._newest(paths)

    def _newest(self, paths: list[str]) -> dict[str, Package]:
        architecture = self.repository.architecture
        return newest(self.host, (read(self.host, path, architecture) for path in paths))

    def wheels(self) -> dict[str, str]:
        """Return the wheels that are wanted, as a line of digest for each name."""
        return {name: _digest(path) for name, path in self._sources("wheels").items()}

    @property
    def _shelf(self) -> str:
        return os.path.join(self.repository.public, "wheels")

    def shelved(self) -> dict[str, str]:
        """Return the wheels that are there."""
        listed = _files(self._shelf).items()
        return {name: _digest(path) for name, path in listed if not name.startswith(bundle.SUMS)}

    def fetch(self) -> None:
        """Download the distribution's packages."""
        self.distribution.fetch(self.given["distribution"], self.names)

    def shelve(self, wanted: dict[str, str], shelved: dict[str, str]) -> None:
        """Bring the folder of wheels to exactly what is wanted, with signed checksums."""
        for name in shelved.keys() - wanted.keys():
            os.unlink(os.path.join(self._shelf, name))
        for name, path in self._sources("wheels").items():
            if shelved.get(name) != wanted[name]:
                partial = os.path.join(self.home, "build", "wheel.partial")
                shutil.copyfile(path, partial)
                os.chmod(partial, 0o644)
                os.replace(partial, os.path.join(self._shelf, name))
        with open(self._sums, "w", encoding="utf-8") as file:
            file.write(_sums(wanted))
        self.repository.sign(self._sums)

    def signed(self, wanted: dict[str, str]) -> bool:
        """Return whether the checksums of ``wanted`` are there, and signed."""
        if not os.path.exists(f"{self._sums}.asc"):
            return False
        with open(self._sums, encoding="utf-8") as file:
            return file.read() == _sums(wanted)

    @property
    def _sums(self) -> str:
        return os.path.join(self._shelf, bundle.SUMS)


def _sums(wheels: dict[str, str]) -> str:
    return "".join(f"{wheels[name]}  {name}\n" for name in sorted(wheels))


def _digest(path: str) -> str:
    return bundle.digest(path) if os.path.exists(path) else _PENDING


def _lines(packages: dict[str, Package], wheels: dict[str, str]) -> list[str]:
    listed = [packages[name].line for name in sorted(packages)]
    shelf = {name: value if value == _PENDING else value[:12] for name, value in wheels.items()}
    return listed + [f"{name} {shelf[name]}" for name in sorted(shelf)]


def main() -> None:
    """Entry point of the module."""
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "suite": {"type": "str", "required": True},
            "component": {"type": "str", "default": "main"},
            "signer": {"type": "str", "required": True},
            "packages": names,
            "wheels": names,
            "distribution": names,
            "bundle": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        mirror = Mirror(module)
        if not module.check_mode:
            mirror.fetch()
        held, wanted = mirror.repository.held(), mirror.packages()
        shelved, wheels = mirror.shelved(), mirror.wheels()
        before, after = _lines(held, shelved), _lines(wanted, wheels)
        changed = before != after or not mirror.signed(wheels)
        if changed and not module.check_mode:
            mirror.repository.hold(wanted, module.params["signer"])
            mirror.shelve(wheels, shelved)
            mirror.repository.rest()
    except (MirrorError, OSError) as error:
        module.fail_json(msg=f"mirror_repository: {error}.")
    diff = {"before": "\n".join(before) + "\n", "after": "\n".join(after) + "\n"}
    key = mirror.repository.key()
    module.exit_json(changed=changed, key=key, held=after, diff=diff)


if __name__ == "__main__":
    main()
