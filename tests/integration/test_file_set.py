"""The module file_set as Ansible runs it as root, in folders that another account owns."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = pwd.getpwnam("nobody").pw_uid


def ansible(parameters: dict[str, Any], *options: str) -> tuple[int, dict[str, Any]]:
    """Run the module through Ansible; return the exit status and what it gave back."""
    process = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,"),
            *("-c", "local", "-m", "file_set", "-a", json.dumps(parameters), *options),
            *("-e", "ansible_python_interpreter=/usr/bin/python3"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    diff, _, answer = process.stdout.partition("localhost | ")
    result = dict(json.loads(answer.partition(" => ")[2]))
    return process.returncode, result | {"shown": diff}


def owner_and_mode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, stat.S_IMODE(found.st_mode)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of nobody's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    return folder


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A closed folder of root's, with a file."""
    folder = tmp_path / "decoy"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("precious")
    (folder / "secret").chmod(0o600)
    return folder


def link(place: Path, to: Path) -> None:
    place.symlink_to(to)
    os.chown(place, NOBODY, -1, follow_symlinks=False)


MINE = {"owner": "nobody", "mode": "0755"}


def _link_folder(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "main", decoy)
    return {"directories": [{"path": str(theirs / "main"), **MINE}]}


def _link_above(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "main", decoy)
    return {"directories": [{"path": str(theirs / "main" / "new"), **MINE}]}


def _link_above_file(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "main", decoy)
    file = {"path": str(theirs / "main" / "secret"), "content": "precious", **MINE}
    return {"files": [file]}


def _link_file(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "file", decoy / "secret")
    return {"files": [{"path": str(theirs / "file"), "content": "precious", **MINE}]}


def _hard_link(theirs: Path, decoy: Path) -> dict[str, Any]:
    os.link(decoy / "secret", theirs / "file")
    return {"files": [{"path": str(theirs / "file"), "content": "precious", **MINE}]}


def _link_removed(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "main", decoy)
    return {"absent": [str(theirs / "main" / "secret")]}


def _link_below(theirs: Path, decoy: Path) -> dict[str, Any]:
    link(theirs / "main", decoy)
    return {"links": [{"path": str(theirs / "main" / "new"), "target": "/nowhere"}]}


@pytest.mark.parametrize(
    ("plant", "options"),
    [
        (_link_folder, ()),
        (_link_folder, ("--check",)),
        (_link_above, ()),
        (_link_above_file, ()),
        (_link_file, ()),
        (_hard_link, ()),
        (_link_removed, ()),
        (_link_below, ()),
    ],
)
def test_what_another_account_planted_is_refused(
    theirs: Path, decoy: Path, plant: Any, options: tuple[str, ...]
) -> None:
    """As an account of a server that puts a link where the next play manages a folder or file."""
    parameters = plant(theirs, decoy)
    before = {path: owner_and_mode(path) for path in (decoy, decoy / "secret")}
    status, answer = ansible(parameters, *options)
    assert {path: owner_and_mode(path) for path in before} == before
    assert [path.name for path in decoy.iterdir()] == ["secret"]
    assert status == 2
    assert str(theirs) in answer["msg"]
    assert "nobody" in answer["msg"] or "a second name" in answer["msg"]
    assert "run again" in answer["msg"]


def test_roots_own_links_go_on_working(tmp_path: Path) -> None:
    """A disk of one's own under /var/lib is often such a link."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "lib").symlink_to(tmp_path / "disk")
    data = tmp_path / "lib" / "data"
    parameters = {
        "directories": [{"path": str(data), "owner": "nobody", "mode": "0750"}],
        "files": [{"path": str(data / "file"), "content": "x", "mode": "0640"}],
        "links": [{"path": str(tmp_path / "lib" / "to"), "target": "data"}],
    }
    foretold = ansible(parameters, "--check", "--diff")[1]
    done = ansible(parameters, "--diff")[1]
    assert done["paths"] == foretold["paths"]
    assert done["shown"] == foretold["shown"] != ""
    assert owner_and_mode(tmp_path / "disk" / "data") == (NOBODY, 0o750)
    assert owner_and_mode(tmp_path / "disk" / "data" / "file") == (0, 0o640)
    assert ansible(parameters)[1]["changed"] is False


def test_a_fleet_set_up_before_converges(theirs: Path) -> None:
    """Folders and files that belonged to an account become root's, from the top down."""
    (theirs / "below").mkdir()
    (theirs / "below" / "file").write_text("x")
    for path in (theirs / "below", theirs / "below" / "file"):
        os.chown(path, NOBODY, -1)
    parameters = {
        "directories": [
            {"path": str(theirs)},
            {"path": str(theirs / "below"), "mode": "0750"},
        ],
        "files": [{"path": str(theirs / "below" / "file"), "content": "x", "mode": "0640"}],
    }
    assert ansible(parameters)[1]["changed"] is True
    assert owner_and_mode(theirs) == (0, 0o755)
    assert owner_and_mode(theirs / "below") == (0, 0o750)
    assert owner_and_mode(theirs / "below" / "file") == (0, 0o640)
    assert ansible(parameters)[1]["changed"] is False
