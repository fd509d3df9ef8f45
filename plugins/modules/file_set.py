#!/usr/bin/python
"""Bring a set of files and directories to a declared state in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write several files and directories in one call
description:
  - Brings every listed directory and file to its declared content, owner, group and mode.
  - Files are written beside their final name, synced and renamed, so no reader sees half of one.
  - One call in place of many keeps a converged run short; what changed is reported for each path.
options:
  directories:
    description: Directories, made in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      owner: {description: Account name., type: str, default: root}
      group: {description: Group name., type: str, default: root}
      mode: {description: Octal mode as a string., type: str, default: "0755"}
  files:
    description: Files with their whole content.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      content: {description: The whole content., type: str, required: true}
      owner: {description: Account name., type: str, default: root}
      group: {description: Group name., type: str, default: root}
      mode: {description: Octal mode as a string., type: str, default: "0644"}
      secret: {description: Keep the content out of the diff., type: bool, default: false}
  links:
    description: Symbolic links.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path of the link., type: path, required: true}
      target: {description: What it points to., type: path, required: true}
  absent:
    description: Files that must not exist. Directories are never removed.
    type: list
    elements: path
    default: []
author: dbops
"""

EXAMPLES = r"""
- name: Render the configuration
  file_set:
    directories:
      - {path: /etc/demo, mode: "0750", group: demo}
    files:
      - path: /etc/demo/demo.conf
        content: "{{ lookup('ansible.builtin.template', 'demo.conf.j2') }}"
        mode: "0640"
"""

RETURN = r"""
paths:
  description: The paths that were or would be changed, in order.
  type: list
  elements: str
  returned: always
"""

import grp
import os
import pwd
import stat
import tempfile

from ansible.module_utils.basic import AnsibleModule

_OWNED = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}


class _Change:
    """What the call has done so far, or would do in check mode."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode
        self.paths: list[str] = []
        self.diff: list[dict[str, str]] = []

    def note(self, path: str, before: str, after: str) -> None:
        if path not in self.paths:
            self.paths.append(path)
        self.diff.append(
            {"before_header": path, "after_header": path, "before": before, "after": after}
        )


def _ids(entry: dict, check_mode: bool) -> tuple[int, int]:
    try:
        return pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
    except KeyError as error:
        if check_mode:  # the account may be one that an earlier, unexecuted task would make
            return -1, -1
        raise ValueError(f"{entry['path']}: {error.args[0]}") from None


def _attributes(entry: dict, change: _Change) -> None:
    path, mode = entry["path"], int(entry["mode"], 8)
    uid, gid = _ids(entry, change.check_mode)
    now = os.lstat(path)
    before = f"{now.st_uid}:{now.st_gid} {stat.S_IMODE(now.st_mode):04o}\n"
    after = f"{uid}:{gid} {mode:04o}\n"
    if before == after:
        return
    change.note(path, before, after)
    if not change.check_mode:
        os.chown(path, uid, gid)
        os.chmod(path, mode)


def _directory(entry: dict, change: _Change) -> None:
    path = entry["path"]
    if os.path.isdir(path):
        _attributes(entry, change)
        return
    change.note(path, "absent\n", f"directory {entry['owner']}:{entry['group']} {entry['mode']}\n")
    if not change.check_mode:
        os.makedirs(path, mode=0o700)
        uid, gid = _ids(entry, False)
        os.chown(path, uid, gid)
        os.chmod(path, int(entry["mode"], 8))


def _file(entry: dict, change: _Change) -> None:
    path, content = entry["path"], entry["content"]
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            before = stream.read()
    except FileNotFoundError:
        before = None
    if before == content:
        _attributes(entry, change)
        return
    if entry["secret"]:
        change.note(
            path, "(another secret)\n" if before is not None else "absent\n", "(the secret)\n"
        )
    else:
        change.note(path, before or "", content)
    if change.check_mode:
        return
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".dbops-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            uid, gid = _ids(entry, False)
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), int(entry["mode"], 8))
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _link(entry: dict, change: _Change) -> None:
    path = entry["path"]
    before = os.readlink(path) if os.path.islink(path) else None
    if before == entry["target"]:
        return
    if before is None and os.path.lexists(path):
        raise ValueError(f"{path} exists and is not a symbolic link: move it away first")
    change.note(path, f"{before or 'absent'}\n", f"{entry['target']}\n")
    if not change.check_mode:
        temporary = f"{path}.dbops-new"
        os.symlink(entry["target"], temporary)
        os.rename(temporary, path)


def _absent(path: str, change: _Change) -> None:
    if not os.path.lexists(path):
        return
    change.note(path, "present\n", "absent\n")
    if not change.check_mode:
        os.unlink(path)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {**_OWNED, "mode": {"type": "str", "default": "0755"}},
            },
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    **_OWNED,
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                },
            },
            "links": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "target": {"type": "path", "required": True},
                },
            },
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    change = _Change(module.check_mode)
    try:
        for entry in module.params["directories"]:
            _directory(entry, change)
        for entry in module.params["files"]:
            _file(entry, change)
        for entry in module.params["links"]:
            _link(entry, change)
        for path in module.params["absent"]:
            _absent(path, change)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"file_set: {error}", paths=change.paths)
    module.exit_json(changed=bool(change.paths), paths=change.paths, diff=change.diff)


if __name__ == "__main__":
    main()
