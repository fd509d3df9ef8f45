"""What works by handle, as the account that runs the tests."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dbops import handles

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_folder_is_made_with_its_mode_and_those_above_it(tmp_path: Path) -> None:
    with handles.make(tmp_path / "a" / "b", mode=0o750) as made:
        assert made.safe
        made.write("file", b"one", mode=0o600)
    assert mode(tmp_path / "a") == 0o755
    assert mode(tmp_path / "a" / "b") == 0o750
    assert mode(tmp_path / "a" / "b" / "file") == 0o600
    handles.make(tmp_path / "a" / "b", mode=0o700).__exit__(None, None, None)
    assert mode(tmp_path / "a" / "b") == 0o700
    assert handles.read(tmp_path / "a" / "b" / "file") == b"one"


def test_ones_own_links_are_followed_absolute_and_relative(tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "one").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "two").symlink_to("../disk/data")
    handles.write(tmp_path / "one" / "two" / "file", b"x")
    assert (tmp_path / "disk" / "data" / "file").read_bytes() == b"x"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links"):
        handles.folder(tmp_path / "round" / "x")


def test_a_link_where_others_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(tmp_path)
    for path in (tmp_path / "open" / "link", tmp_path / "open" / "link" / "below"):
        with pytest.raises(handles.Unsafe, match=r"open/link is a link that \S+ owns"):
            handles.folder(path)


def test_a_link_in_a_sticky_folder_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    (tmp_path / "open" / "link").symlink_to(tmp_path)
    with handles.folder(tmp_path / "open" / "link") as found:
        assert os.fstat(found.handle).st_ino == tmp_path.stat().st_ino


def test_a_file_is_written_whole_and_a_link_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "file").symlink_to("precious")
    handles.write(tmp_path / "file", b"new")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        handles.write(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "precious"]


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(handles.Unsafe, match="is a link"):
        handles.read(tmp_path / "link")
    with pytest.raises(handles.Unsafe, match="neither a file nor a folder"):
        handles.read(tmp_path / "pipe")


def test_a_file_with_a_second_name_is_left_alone_where_others_write(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "precious").chmod(0o600)
    for name, open_to_all in (("closed", False), ("open", True)):
        (tmp_path / name).mkdir()
        os.link(tmp_path / "precious", tmp_path / name / "file")
        (tmp_path / name).chmod(0o777 if open_to_all else 0o755)
    with handles.folder(tmp_path / "open") as found:
        assert not found.safe
        with pytest.raises(handles.Unsafe, match="a second name elsewhere"):
            found.own("file", -1, -1, 0o644)
    assert mode(tmp_path / "precious") == 0o600
    with handles.folder(tmp_path / "closed") as found:
        found.own("file", -1, -1, 0o640)
    assert mode(tmp_path / "precious") == 0o640


def test_links_are_made_and_removed_and_trees_too(tmp_path: Path) -> None:
    with handles.folder(tmp_path) as found:
        found.link("to", "/nowhere")
        found.link("to", "/elsewhere")
        assert os.readlink(tmp_path / "to") == "/elsewhere"
        found.remove("to")
        found.remove("to")
        assert found.look("to") is None
        with found.make("tree") as tree:
            tree.link("out", str(tmp_path.parent))
        found.remove_tree("tree")
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.parent.is_dir()


def test_who_may_replace_a_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "open" / "below").mkdir(parents=True)
    assert handles.changeable_by_others(tmp_path / "open" / "below" / "state") is None
    assert handles.changeable_by_others(tmp_path / "not" / "there") is None
    (tmp_path / "open").chmod(0o777)
    said = handles.changeable_by_others(tmp_path / "open" / "below" / "state") or ""
    assert said.startswith(f"{tmp_path}/open belongs to ")
    assert "give it to root" in said
