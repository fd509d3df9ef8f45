"""What root does in folders that another account owns, or owns a folder above."""

from __future__ import annotations

import json
import os
import pwd
import threading
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dbops import files, handles, lock, status
from dbops.commands.drill import drill
from dbops.drill import history
from dbops.errors import ConfigError, DbopsError
from dbops.restore import set_aside
from tests.conftest import WriteTarget
from tests.unit.drill.test_history import make_result

NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def state(tmp_path: Path, write_target: WriteTarget) -> Path:
    """A state directory as the role makes it, with a record of a drill."""
    target = write_target(part="drill")
    history.save(target, make_result(proven=False))
    return Path(target.state_dir)


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A closed folder of root's, with a folder and a file."""
    folder = tmp_path / "decoy"
    (folder / "drills").mkdir(parents=True)
    (folder / "backup.lock").write_text("precious")
    for path in (folder, folder / "drills", folder / "backup.lock"):
        path.chmod(0o700)
    return folder


def looks(folder: Path) -> list[tuple[Any, ...]]:
    found = [folder, *sorted(folder.rglob("*"))]
    return [(path, *(path.lstat()[at] for at in (0, 3, 4, 5, 6))) for path in found]


def theirs(path: Path) -> None:
    os.chown(path, NOBODY, -1, follow_symlinks=False)


def forge(state: Path) -> None:
    record = json.loads(next((state / "drills").glob("*.json")).read_text())
    record |= {"backup_id": "FORGED", "proven": True, "started_at": "2031-01-01T00:00:00Z"}
    (state / "drills" / "20310101T000000Z.json").write_text(json.dumps(record))
    theirs(state / "drills" / "20310101T000000Z.json")


def test_a_record_of_another_account_proves_nothing(state: Path) -> None:
    """The record lies where root keeps its own, by whatever way it came there."""
    forge(state)
    said = CliRunner().invoke(drill, ["history", "--json"])
    assert said.exit_code == 0
    assert "FORGED" not in said.stdout
    assert len(json.loads(said.stdout)) == 1
    assert "20310101T000000Z.json belongs to" in said.stderr


def test_a_state_directory_of_another_account_is_not_believed(
    state: Path, write_target: WriteTarget
) -> None:
    """As the agent that owns the folder above: a state directory of its own, with its records."""
    target = write_target(part="drill")
    forge(state)
    theirs(state.parent)
    theirs(state)
    for act in (history.load, history.newest):
        with pytest.raises(ConfigError, match=r"belongs to nobody .* give it to root"):
            act(target)
    for write in (
        lambda: history.save(target, make_result()),
        lambda: lock.hold(target, "drill").__enter__(),
        lambda: status.update(target, "verify", {}),
    ):
        with pytest.raises(ConfigError, match=r"belongs to nobody .* give it to root"):
            write()


def test_a_link_for_the_state_directory_is_refused(
    state: Path, decoy: Path, write_target: WriteTarget
) -> None:
    target = write_target(part="drill")
    before = looks(decoy)
    theirs(state.parent)
    state.rename(state.with_name("aside"))
    state.symlink_to(decoy)
    theirs(state)
    for write in (
        lambda: history.save(target, make_result()),
        lambda: lock.hold(target, "backup").__enter__(),
        lambda: status.update(target, "verify", {}),
        lambda: files.write(state / "restore.json", "x", shared=True),
        lambda: files.write(state / "restore.json", "x"),
        lambda: set_aside.make(state / "main", "nobody"),
        lambda: set_aside.set_aside(state / "drills", state / "drills.aside", lambda: None),
    ):
        with pytest.raises(DbopsError):
            write()
    assert looks(decoy) == before
    assert status.read(target)["verify"] == {}
    assert not lock.held(target, "backup")


def test_a_link_for_the_records_is_refused(
    state: Path, decoy: Path, write_target: WriteTarget
) -> None:
    """As the account that owns the state directory, where that is not root."""
    target = write_target(part="drill")
    before = looks(decoy)
    (state / "drills").rename(state / "aside")
    (state / "drills").symlink_to(decoy / "drills")
    theirs(state / "drills")
    theirs(state)
    with pytest.raises(ConfigError, match="is a link that nobody owns"):
        history.save(target, make_result())
    assert looks(decoy) == before


def test_a_tree_is_given_away_without_what_it_links_to(tmp_path: Path, decoy: Path) -> None:
    before = looks(decoy)
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    (top / "below" / "file").write_text("x")
    (top / "below" / "out").symlink_to(decoy)
    (top / "out").symlink_to(decoy / "backup.lock")
    os.mkfifo(top / "pipe")
    handles.give(top, NOBODY, -1)
    assert {path.lstat().st_uid for path in (top, *top.rglob("*"))} == {NOBODY}
    os.link(decoy / "backup.lock", top / "below" / "hard")
    with pytest.raises(handles.Unsafe, match="a second name elsewhere"):
        handles.give(top, NOBODY, -1)
    os.unlink(top / "below" / "hard")
    assert looks(decoy) == before


def test_no_race_wins(tmp_path: Path, decoy: Path) -> None:
    """As the owner of the folder above, which flips a folder and a link all the time."""
    parent, started = tmp_path / "theirs", datetime.now(UTC)
    (parent / "real").mkdir(parents=True)
    (parent / "main").mkdir()
    (parent / "link").symlink_to(decoy)
    for path in (parent, parent / "real", parent / "main", parent / "link"):
        theirs(path)
    before, end = looks(decoy), threading.Event()

    def flip() -> None:
        for number in count():
            if end.is_set():
                return
            away = f"away-{number}"
            for old, new in (("main", away), ("link", "main"), ("main", "link"), (away, "main")):
                with suppress(OSError):  # root has just made one anew
                    os.rename(parent / old, parent / new)

    flipping = threading.Thread(target=flip)
    flipping.start()
    tried = refused = 0
    try:
        while (datetime.now(UTC) - started).total_seconds() < 3:
            tried += 1
            try:
                with handles.make(parent / "main", NOBODY, -1, 0o755) as place:
                    place.write("file", b"x", NOBODY, -1, 0o644)
            except OSError:
                refused += 1
    finally:
        end.set()
        flipping.join()
    assert tried > refused
    assert looks(decoy) == before
