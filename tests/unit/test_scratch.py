"""The scratch folder: root writes there beside a server that may be hostile."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from dbops import scratch


def test_a_link_that_the_server_left_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "recovery.signal").symlink_to(victim)

    scratch.put(tmp_path / "recovery.signal", "", pwd.getpwuid(os.geteuid()).pw_name)

    assert victim.read_text() == "precious"
    assert not (tmp_path / "recovery.signal").is_symlink()


def test_a_process_counts_only_when_it_works_in_the_data_directory(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    pidfile.write_text(f"{os.getpid()}\n")

    assert scratch.serving(pidfile, Path.cwd()) == os.getpid()
    assert scratch.serving(pidfile, tmp_path) is None
    pidfile.write_text("not a number")
    assert scratch.serving(pidfile, Path.cwd()) is None
