"""The seal on a real file system: what the other account can do while it works, and after it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbops.repository import sealing
from dbops.repository.sealing import Seal

GATE, KEEPER, OTHER = 61001, 61002, 61003
_REAL: dict[str, Callable[..., Any]] = {"listdir": os.listdir, "fstat": os.fstat, "stat": os.stat}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive with one sealed folder, in which there is room for what is added."""
    if os.geteuid() != 0:
        pytest.fail("the seal gives files away: run this as root")
    folder = tmp_path / "archive"
    folder.mkdir()
    os.chown(folder, KEEPER, KEEPER)
    _made(folder / "flights", KEEPER, sealing.DIRECTORY_MODE)
    return folder


def _made(path: Path, owner: int = GATE, mode: int = 0o750) -> Path:
    path.mkdir()
    os.chown(path, owner, KEEPER)
    path.chmod(mode)
    return path


def _written(path: Path, owner: int = GATE, mode: int = 0o644) -> Path:
    path.write_text("log")
    os.chown(path, owner, KEEPER)
    path.chmod(mode)
    return path


def _seal(archive: Path, *, take: bool = True) -> Seal:
    seal = Seal(GATE, KEEPER, KEEPER, take=take)
    handle = os.open(archive, os.O_RDONLY)
    try:
        sealing.walk(handle, str(archive), seal)
    finally:
        os.close(handle)
    return seal


def _facts(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def _odd(seal: Seal) -> dict[str, str]:
    return {Path(one.path).name: one.reason for one in seal.odd}


def test_what_was_added_becomes_the_keepers(archive: Path) -> None:
    folder = _made(archive / "flights" / "15-1")
    segment = _written(folder / "segment", mode=0o4777)
    begun = _written(folder / "segment.pgbackrest.tmp")
    first = _seal(archive)
    assert (first.sealed, first.odd) == (2, [])
    assert _facts(folder) == (KEEPER, KEEPER, 0o3770)
    assert _facts(segment) == (KEEPER, KEEPER, 0o640)
    assert _facts(begun)[0] == GATE
    assert _seal(archive).sealed == 0


def test_nothing_that_leads_elsewhere_is_followed(archive: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    _made(outside, GATE, 0o755)
    _written(outside / "file", GATE)
    theirs = _written(tmp_path / "theirs", OTHER)
    place = archive / "flights"
    (place / "folder").symlink_to(outside)
    (place / "file").symlink_to(outside / "file")
    os.link(_written(tmp_path / "two names"), place / "twice")
    os.link(theirs, place / "theirs")
    os.mkfifo(place / "pipe")
    os.chown(place / "pipe", GATE, GATE)
    seal = _seal(archive)
    assert seal.sealed == 0
    assert _odd(seal) == {
        "folder": "a link",
        "file": "a link",
        "twice": "a file with a second name",
        "theirs": "belongs to another account",
        "pipe": "neither a file nor a folder",
    }
    assert _facts(outside) == (GATE, KEEPER, 0o755)
    assert _facts(outside / "file") == (GATE, KEEPER, 0o644)
    assert _facts(theirs)[0] == OTHER


@pytest.mark.parametrize("moment", ["listdir", "stat", "fstat"])
def test_a_folder_that_becomes_a_link_meanwhile_gets_nobody_out(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After each look that the seal takes, the account swaps the folder for a link."""
    system = tmp_path / "system"
    _made(system, 0, 0o755)
    _made(system / "sbin", 0, 0o755)
    folder = _made(archive / "flights" / "d")
    _made(folder / "sbin")

    def swap() -> None:
        if not folder.is_symlink():
            folder.rename(archive / "flights" / "away")
            folder.symlink_to(system)

    monkeypatch.setattr(os, moment, _then(_REAL[moment], swap, folder))
    _seal(archive)
    monkeypatch.undo()
    assert folder.is_symlink(), "the swap was never made"
    assert _facts(system) == (0, KEEPER, 0o755)
    assert _facts(system / "sbin") == (0, KEEPER, 0o755)


def _then(real: Callable[..., object], swap: Callable[[], None], folder: Path) -> object:
    """Return a call of the system after which ``folder`` is swapped, once it was looked at."""
    wanted = folder.stat().st_ino, folder.parent.stat().st_ino

    def call(what: int | str, *args: object, **named: object) -> object:
        answer = real(what, *args, **named)
        if what == folder.name or (isinstance(what, int) and _number(what) in wanted):
            swap()
        return answer

    return call


def _number(handle: int) -> int:
    found = _REAL["fstat"](handle)
    assert isinstance(found, os.stat_result)
    return found.st_ino


def test_the_account_cannot_change_the_mode_back_in_between(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _made(archive / "flights" / "15-1")
    real = os.fchown

    def chown(handle: int, owner: int, group: int) -> None:
        folder.chmod(0o2777)  # not sticky: everybody could rename what is in there
        real(handle, owner, group)

    monkeypatch.setattr(os, "fchown", chown)
    _seal(archive)
    assert _facts(folder) == (KEEPER, KEEPER, 0o3770)


def test_a_look_changes_nothing_and_names_what_is_not_sealed(archive: Path) -> None:
    _made(archive / "flights" / "15-1")
    before = _facts(archive / "flights" / "15-1")
    assert _odd(_seal(archive, take=False)) == {"15-1": "not sealed"}
    assert _facts(archive / "flights" / "15-1") == before


def test_folders_without_end_do_not_stop_it(archive: Path) -> None:
    deep = archive / "flights"
    for name in range(sealing.DEEPEST + 3):
        deep = _made(deep / str(name))
    segment = _written(archive / "flights" / "zz")
    seal = _seal(archive)
    assert _facts(segment)[0] == KEEPER
    assert list(_odd(seal).values()) == ["deeper than any folder that belongs here"]


def test_it_says_in_one_line_what_is_wrong(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sealing.main([str(archive), "nobody", "no-such-account"]) == 1
    assert sealing.main([str(archive / "gone"), "nobody", "root"]) == 1
    (archive / "odd\nname").symlink_to("/etc")
    assert sealing.main([str(archive), "nobody", "root"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert "no-such-account" in said[0]
    assert said[1] == f"{archive}/gone cannot be sealed: No such file or directory."
    assert f"left as it is: '{archive}/odd\\nname': a link" in said
