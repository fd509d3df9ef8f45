"""What ``dbops check`` says of pgBackRest's own folders on the repository host."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from dbops.contract import Check
from dbops.engines.postgresql import checks_repository, options
from tests.unit.postgresql import made


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Return where pgBackRest's folders of locks and logs are, and its archive."""
    for name in ("locks", "logs", "repo", "repo/archive"):
        (tmp_path / name).mkdir(mode=0o750)
    return tmp_path


def _checks(folders: Path) -> dict[str, Check]:
    target = made.target(
        folders,
        lock_path=str(folders / "locks"),
        log_path=str(folders / "logs"),
        gate_user="nobody",
        os_user=pwd.getpwuid(os.geteuid()).pw_name,
    )
    return {one.name: one for one in checks_repository.tool(options.read(target))}


def test_nothing_is_wrong_with_folders_of_its_own(folders: Path) -> None:
    found = _checks(folders)
    assert len(found) == 5
    assert all(check.ok for check in found.values()), found


@pytest.mark.parametrize("name", ["flights.stop", "all.stop"])
def test_a_stop_file_is_named(folders: Path, name: str) -> None:
    (folders / "locks" / name).touch()
    found = _checks(folders)["pgBackRest is not stopped"]
    assert not found.ok
    assert found.detail == str(folders / "locks" / name)


@pytest.mark.parametrize("name", ["locks", "logs"])
def test_a_folder_that_others_may_write_is_told(folders: Path, name: str) -> None:
    (folders / name).chmod(0o770)
    assert not _checks(folders)[f"pgBackRest's {name} are its own"].ok


def test_a_log_that_leads_elsewhere_is_told(folders: Path) -> None:
    (folders / "logs" / "flights-backup.log").symlink_to(folders / "repo")
    found = _checks(folders)["pgBackRest's logs are no links"]
    assert not found.ok
    assert found.detail == str(folders / "logs" / "flights-backup.log")


def test_what_is_new_in_the_archive_has_its_time_to_be_sealed(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "repo" / "archive" / "link").symlink_to("/etc")
    assert _checks(folders)["archived log is sealed"].ok
    monkeypatch.setattr(checks_repository, "SEAL_SECONDS", -1)
    found = _checks(folders)["archived log is sealed"]
    assert not found.ok
    assert "link' (a link)" in found.detail
