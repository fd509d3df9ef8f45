#!/usr/bin/python
"""Pack what a mirror holds into one file, or unpack such a file on another mirror."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_bundle
short_description: One file out of a mirror, or into it
description:
  - Packed, writes C(work/bundle.tar) of all packages and wheels that the mirror holds; the same
    ones give the same file.
  - Unpacked, takes C(incoming/bundle.tar) apart into C(work/bundle), if it has the checksum that is
    given and each of its files the one that it names itself.
options:
  home: {description: Home of the mirror., type: path, required: true}
  state: {description: Which way., type: str, choices: [packed, unpacked], required: true}
  sha256: {description: Checksum of the file that is unpacked., type: str, default: ""}
  suite: {description: Name of the suite., type: str, required: true}
  component: {description: Name of the component., type: str, default: main}
author: dbops
"""

EXAMPLES = r"""
- name: Pack what the mirror holds
  mirror_bundle:
    home: /var/lib/dbops-mirror
    suite: bookworm
    state: packed
"""

RETURN = r"""
sha256:
  description: Checksum of the bundle.
  type: str
  returned: always
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mirror import bundle
from ansible.module_utils.mirror.packages import MirrorError, digest
from ansible.module_utils.mirror.repository import Here, Repository

_NOTE = "unpacked.sha256"


def _held(repository: Repository) -> dict[str, str]:
    """Return all files of a mirror, paths by the names that they get in a bundle."""
    packages = (package.path for package in repository.held().values())
    found = {f"packages/{os.path.basename(path)}": path for path in packages}
    shelf = os.path.join(repository.public, "wheels")
    names = os.listdir(shelf) if os.path.isdir(shelf) else []
    wheels = {
        f"wheels/{name}": os.path.join(shelf, name)
        for name in names
        if not name.startswith(bundle.SUMS)
    }
    return found | wheels


def _pack(module: AnsibleModule) -> tuple[bool, str]:
    """Write the bundle unless it is there; return whether that was needed, and its checksum."""
    home = module.params["home"]
    files = _held(Repository.of(Here(module), module.params))
    path = os.path.join(home, "build", "bundle.tar")
    wanted = bundle.would_be(files)
    if os.path.exists(path) and digest(path) == wanted:
        return False, wanted
    if not module.check_mode:
        bundle.pack(files, path)
    return True, wanted


def _unpack(module: AnsibleModule) -> tuple[bool, str]:
    """Take the bundle apart unless that was done; return whether it was needed."""
    home, wanted = module.params["home"], module.params["sha256"].strip().lower()
    path = os.path.join(home, "incoming", "bundle.tar")
    done, new = os.path.join(home, "build", "bundle"), os.path.join(home, "build", "bundle.new")
    if _noted(done) == wanted:
        return False, wanted
    if module.check_mode and not os.path.exists(path):
        return True, wanted
    if (found := digest(path)) != wanted:
        raise MirrorError(
            f"the bundle's checksum is {found}, not {wanted or 'given'}: it is torn or another one"
        )
    if not module.check_mode:
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new, 0o755)
        bundle.unpack(path, new)
        with open(os.path.join(new, _NOTE), "w", encoding="utf-8") as file:
            file.write(wanted)
        shutil.rmtree(done, ignore_errors=True)
        os.rename(new, done)
    return True, wanted


def _noted(folder: str) -> str:
    try:
        with open(os.path.join(folder, _NOTE), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["packed", "unpacked"], "required": True},
            "sha256": {"type": "str", "default": ""},
            "suite": {"type": "str", "required": True},
            "component": {"type": "str", "default": "main"},
        },
        supports_check_mode=True,
    )
    try:
        act = _pack if module.params["state"] == "packed" else _unpack
        changed, found = act(module)
    except (MirrorError, OSError) as error:
        module.fail_json(msg=f"mirror_bundle: {error}.")
    module.exit_json(changed=changed, sha256=found)


if __name__ == "__main__":
    main()
