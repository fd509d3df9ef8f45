#!/usr/bin/python
"""Bring a set of files and directories to a declared state in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write several files and directories in one call
description:
  - Brings every listed directory and file to its declared content, owner, group and mode.
  - Files are written beside their final name, synced and renamed, so no reader sees half of one.
  - A path that is a link, or goes through one, is refused unless root owns the link and nobody
    else may rename it. The same holds for a file with a second name where others may write.
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
      keep: {description: Leave content that is there alone., type: bool, default: false}
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

from ansible.module_utils import handles
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


def _differs(entry: dict, now: os.stat_result, change: _Change) -> bool:
    """Tell whether owner, group or mode differ, and note it if so."""
    mode, (uid, gid) = int(entry["mode"], 8), _ids(entry, change.check_mode)
    before = f"{now.st_uid}:{now.st_gid} {stat.S_IMODE(now.st_mode):04o}\n"
    after = f"{uid}:{gid} {mode:04o}\n"
    if before != after:
        change.note(entry["path"], before, after)
    return before != after


def _directory(entry: dict, change: _Change) -> None:
    path, mode = entry["path"], int(entry["mode"], 8)
    try:
        with handles.folder(path) as found:
            if not _differs(entry, os.fstat(found.handle), change):
                return
    except FileNotFoundError:
        change.note(
            path, "absent\n", f"directory {entry['owner']}:{entry['group']} {entry['mode']}\n"
        )
    if not change.check_mode:
        with handles.make(path, *_ids(entry, False), mode):
            pass


def _above(path: str, change: _Change) -> tuple[handles.Folder, str] | None:
    """Open the folder of ``path``; None when an earlier, unexecuted task would make it."""
    try:
        return handles.parent(path)
    except FileNotFoundError:
        if change.check_mode:
            return None
        raise


def _file(entry: dict, change: _Change) -> None:
    content = entry["content"]
    place = _above(entry["path"], change)
    if place is None:
        _note_content(entry, None, change)
        return
    folder, name = place
    with folder:
        before = _content(folder, name)
        if before == content or (entry["keep"] and before is not None):
            now = folder.look(name)
            if _differs(entry, now, change) and not change.check_mode:
                folder.own(name, *_ids(entry, False), int(entry["mode"], 8))
            return
        _note_content(entry, before, change)
        if not change.check_mode:
            ids, mode = _ids(entry, False), int(entry["mode"], 8)
            folder.write(name, content.encode(), *ids, mode)


def _content(folder: handles.Folder, name: str) -> str | None:
    return None if folder.look(name) is None else folder.read(name).decode("utf-8")


def _note_content(entry: dict, before: str | None, change: _Change) -> None:
    if entry["secret"]:
        said = "(another secret)\n" if before is not None else "absent\n"
        change.note(entry["path"], said, "(the secret)\n")
    else:
        change.note(entry["path"], before or "", entry["content"])


def _link(entry: dict, change: _Change) -> None:
    path, target = entry["path"], entry["target"]
    place = _above(path, change)
    if place is None:
        change.note(path, "absent\n", f"{target}\n")
        return
    folder, name = place
    with folder:
        now = folder.look(name)
        if now is not None and not stat.S_ISLNK(now.st_mode):
            raise ValueError(f"{path} exists and is not a symbolic link: move it away first")
        before = None if now is None else os.readlink(name, dir_fd=folder.handle)
        if before == target:
            return
        change.note(path, f"{before or 'absent'}\n", f"{target}\n")
        if not change.check_mode:
            folder.link(name, target)


def _absent(path: str, change: _Change) -> None:
    try:
        folder, name = handles.parent(path)
    except FileNotFoundError:
        return
    with folder:
        if folder.look(name) is None:
            return
        change.note(path, "present\n", "absent\n")
        if not change.check_mode:
            folder.remove(name)


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
                    "keep": {"type": "bool", "default": False},
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
