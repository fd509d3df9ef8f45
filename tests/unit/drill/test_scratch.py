"""The scratch folder: root writes there beside a server that may be hostile."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from dbops.drill import scratch


def test_a_link_that_the_server_left_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "recovery.signal").symlink_to(victim)

    scratch.put(tmp_path / "recovery.signal", "", pwd.getpwuid(os.geteuid()).pw_name)

    assert victim.read_text() == "precious"
    assert not (tmp_path / "recovery.signal").is_symlink()
