"""What ``postgresql_state`` reads out of files and of what programs print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

from ansible.module_utils.basic import AnsibleModule

from plugins.modules.postgresql_state import complaint, gather, parse_controldata, postmaster_alive

CONTROL = """pg_control version number:            1300
Database system identifier:           7710993468874393090
Database cluster state:               in archive recovery
pg_control last modified:             Sun 22 Nov 2026 13:51:00 UTC
Latest checkpoint's TimeLineID:       3
Latest checkpoint's PrevTimeLineID:   2
Data page checksum version:           1
"""


def test_the_control_file_is_read() -> None:
    assert parse_controldata(CONTROL) == {
        "timeline": 3,
        "system_identifier": "7710993468874393090",
        "checksums": True,
        "database_cluster_state": "in archive recovery",
    }
    off = parse_controldata(CONTROL.replace("version:           1", "version: 0"))
    assert off["checksums"] is False


def test_what_is_not_there_is_not_guessed() -> None:
    assert set(parse_controldata("").values()) == {None}


def test_a_postmaster_is_alive_only_when_it_works_in_its_directory(tmp_path: Path) -> None:
    """After a crash the number in the file may be that of another program."""
    assert not postmaster_alive(str(tmp_path))
    pidfile = tmp_path / "postmaster.pid"
    for text in ("", "none\n", "4194305\n", f"{os.getpid()}\n"):
        pidfile.write_text(text)
        assert not postmaster_alive(str(tmp_path))
    sleep = [sys.executable, "-c", "import time; time.sleep(30)"]
    with subprocess.Popen(sleep, cwd=tmp_path) as process:
        pidfile.write_text(f"{process.pid}\n{tmp_path}\n")
        assert postmaster_alive(str(tmp_path))
        process.kill()
    assert not postmaster_alive(str(tmp_path))


def test_a_complaint_is_one_line() -> None:
    assert complaint(0, "warning") is None
    assert complaint(124, "") == "no answer within 20 seconds"
    assert complaint(2, "one\ntwo\n") == "two"
    assert complaint(3, "") == "exit status 3"


class Asked:
    """The module, as far as the state of a directory needs it."""

    def __init__(self, data_dir: Path) -> None:
        self.params = {"data_dir": str(data_dir), "bin_dir": "/nowhere"}


def test_a_copy_that_did_not_end_is_told(tmp_path: Path) -> None:
    place = tmp_path / "main"
    place.mkdir()
    (place / "PG_VERSION").write_text("15\n")
    assert gather(cast(AnsibleModule, Asked(place)))["unfinished"] is False
    (tmp_path / "main.unfinished").touch()
    state = gather(cast(AnsibleModule, Asked(place)))
    assert (state["initialized"], state["unfinished"]) == (True, True)
