"""Files: whole or not at all, readable by whom they are for, and nothing temporary left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dbops import files
from dbops.errors import ConfigError

pytestmark = pytest.mark.unit

OTHER = 4242


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_written_and_written_over(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "f"
    path.write_text("a longer text than the new one")
    path.chmod(0o600)
    files.write(path, "ключ\n", shared=shared)
    assert path.read_bytes() == "ключ\n".encode()
    assert mode(path) == 0o640
    assert names(tmp_path) == ["f"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.write(tmp_path / "f", "")
    finally:
        os.umask(before)
    assert mode(tmp_path / "f") == 0o640


def test_only_a_shared_file_makes_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "state" / "flights" / "f"
    with pytest.raises(ConfigError, match=r"^\S+/flights/f cannot be written: No such file.*\.$"):
        files.write(path, "text")
    assert names(tmp_path) == []
    files.write(path, "text", shared=True)
    assert path.read_text() == "text"
    assert mode(path.parent) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("shared", "owner"), [(True, OTHER), (False, 0)])
def test_a_shared_file_gets_the_owner_of_its_folder(
    tmp_path: Path, shared: bool, owner: int
) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    files.write(tmp_path / "f", "text", shared=shared)
    assert (tmp_path / "f").stat().st_uid == owner
    assert (tmp_path / "f").stat().st_gid == owner


@pytest.mark.parametrize(("groups", "given"), [([], []), ([OTHER], [(-1, OTHER)])])
def test_without_root_only_an_own_group_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: list[int], given: list[object]
) -> None:
    seen: list[object] = []
    monkeypatch.setattr("os.fstat", lambda handle: folder(os.stat(handle)))
    monkeypatch.setattr("os.geteuid", lambda: 1)
    monkeypatch.setattr("os.getegid", lambda: 1)
    monkeypatch.setattr("os.getgroups", lambda: groups)
    monkeypatch.setattr("os.fchown", lambda handle, *ids: seen.append(ids))

    def folder(found: os.stat_result) -> os.stat_result:
        group = OTHER if stat.S_ISDIR(found.st_mode) else found.st_gid
        return os.stat_result((*found[:5], group, *found[6:10]))

    files.write(tmp_path / "f", "text", shared=True)
    assert seen == given


@pytest.mark.parametrize("shared", [False, True])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    path = tmp_path / "f"
    path.write_text("old")

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ConfigError, match="f cannot be written: No space left on device"):
        files.write(path, "new", shared=shared)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_an_interrupted_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "f", "text")
    assert names(tmp_path) == []
