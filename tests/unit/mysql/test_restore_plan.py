"""A restore's steps, word for word and in order, and what it refuses. No server, no repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.contract import RestoreRequest
from dbops.engines.mysql import private_server, restore
from dbops.errors import ConfigError, Refused
from dbops.manifest import Manifest
from dbops.repository import catalogue
from dbops.repository.routes import Entry
from dbops.restore import set_aside
from tests.unit.mysql import made

BACKUP = "20261101-010000F"
KEPT = "main.set-aside-20261101T020000Z"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """The repository's entries: one full backup; the server here is 10.11, and the time known."""
    manifest = Manifest(
        engine="mysql",
        version="10.11",
        cluster="flights",
        member="m1",
        backup_id=BACKUP,
        kind="full",
        parent_id=None,
        start=made.moment(0),
        stop=made.moment(1),
        start_point="0-1-2",
        stop_point="0-1-2",
        bytes_read=1000,
        bytes_stored=100,
        encrypted=True,
        tool="restic",
        tool_version="0.14.0",
        dbops_version="0",
    )
    found = [Entry(manifest=manifest, snapshots={"base.mbstream.zst": "a" * 64})]
    monkeypatch.setattr(catalogue, "entries", lambda repo: tuple(found))
    monkeypatch.setattr(private_server, "version", lambda flavor: "10.11")
    monkeypatch.setattr(set_aside, "name", lambda data_dir: data_dir.with_name(KEPT))
    return found


@pytest.fixture
def main(tmp_path: Path, stored: list[Entry]) -> Path:
    """A data directory whose server was stopped, with log that no backup has."""
    directory = tmp_path / "main"
    (directory / "mysql").mkdir(parents=True)
    log = [made.transaction(number, at=made.EPOCH + number) for number in (1, 2, 3, 4)]
    made.log(directory / "binlog.000001", "", *log)
    return directory


def plan(folder: Path, request: RestoreRequest | None = None, **options: Any) -> list[str]:
    """Return a plan's lines, without the folder in which this test works."""
    settings = {"data_dir": str(folder / "main"), "service": "mariadb@main.service", **options}
    target = made.target(folder, "member", **settings)
    found = runner.describe(restore.plan_restore(target, request or RestoreRequest()))
    return [line.replace(str(folder), "/T") for line in found]


def test_every_step_of_a_restore(tmp_path: Path, main: Path) -> None:
    assert plan(tmp_path) == [
        "fetch the binary log to /T/main.restore/log and find the newest moment in it",
        "systemctl stop mariadb@main.service",
        f"rename /T/main to /T/{KEPT}",
        "make the directory /T/main",
        "note in /T/main.unfinished that nothing may start it yet",
        f"restore {BACKUP} to /T/main and prepare it (the former data is kept in /T/{KEPT})",
        "note in /T/state/restore.json that this restore is not proven",
        "replay the binary log to the newest moment in a server of its own, and verify it",
        "remove /T/main.unfinished",
        "systemctl start mariadb@main.service",
        "verify that the server answers and that the heartbeat can be read",
        "note in /T/state/restore.json that this restore is proven",
        "remove /T/main.restore",
    ]
    assert (main / "mysql").is_dir(), "making a plan changes nothing"


def test_every_step_without_former_data_and_unit(tmp_path: Path, stored: list[Entry]) -> None:
    assert plan(tmp_path, RestoreRequest(point="0-1-2"), service=None) == [
        "fetch the binary log to /T/main.restore/log and find GTID 0-1-2 in it",
        "make the directory /T/main",
        "note in /T/main.unfinished that nothing may start it yet",
        f"restore {BACKUP} to /T/main and prepare it (there was no former data)",
        "note in /T/state/restore.json that this restore is not proven",
        "replay the binary log to GTID 0-1-2 in a server of its own, and verify it",
        "remove /T/main.unfinished",
        "verify that the server answers and that the heartbeat can be read",
        "note in /T/state/restore.json that this restore is proven",
        "remove /T/main.restore",
    ]


def test_the_members_own_log_is_part_of_the_way(tmp_path: Path, main: Path) -> None:
    assert plan(tmp_path, RestoreRequest(point="0-1-4"))
    with pytest.raises(ConfigError, match="recovery window"):
        plan(tmp_path, RestoreRequest(point="0-1-5"))


def test_a_directory_that_is_something_else_is_left_alone(
    tmp_path: Path, stored: list[Entry]
) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "thesis.txt").write_text("precious", encoding="ascii")
    with pytest.raises(Refused, match="is not a MariaDB data directory: nothing was changed"):
        plan(tmp_path)


def test_data_outside_the_directory_are_left_alone(tmp_path: Path, main: Path) -> None:
    (main / "app").symlink_to(tmp_path)
    with pytest.raises(Refused, match=r"the link 'app'\), which setting aside would leave behind"):
        plan(tmp_path)


def test_a_link_cannot_be_set_aside(tmp_path: Path, main: Path) -> None:
    main.rename(tmp_path / "elsewhere")
    main.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="cannot be set aside by renaming"):
        plan(tmp_path)


def test_another_version_is_named(
    tmp_path: Path, main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_server, "version", lambda flavor: "11.8")
    with pytest.raises(ConfigError, match=re.escape("restore it on a host with 10.11.")):
        plan(tmp_path)


def test_too_small_a_disk(tmp_path: Path, main: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 999})())
    with pytest.raises(Refused, match="nothing was changed"):
        plan(tmp_path)


def test_only_on_a_member(tmp_path: Path) -> None:
    for part in ("repository", "drill"):
        with pytest.raises(ConfigError, match="run this on its member host"):
            restore.plan_restore(made.target(tmp_path, part), RestoreRequest())


def test_what_was_fetched_is_discarded_only_beside_a_sound_server(
    tmp_path: Path, main: Path
) -> None:
    here = made.target(tmp_path, "member", data_dir=str(main), socket=str(tmp_path / "no.sock"))
    assert restore.plan_discard(here) == ()
    (tmp_path / "main.restore").mkdir()
    with pytest.raises(Refused, match="nothing is removed"):
        restore.plan_discard(here)
