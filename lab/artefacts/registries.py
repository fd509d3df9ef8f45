"""What package registries ship, by their own clients, as this machine is set up to reach them."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from lab.machine import LabError, command


class OutOfReach(LabError):
    """A registry, or what is asked of it, is not to be had here; the message says which and why."""


def wheel(requirement: str, folder: Path) -> Path:
    """Download and unpack the wheel of ``requirement``; return the folder of its files."""
    _ask(
        requirement, sys.executable, "-m", "pip", "--disable-pip-version-check", "download",
        "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement,
    )  # fmt: skip
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder / "unpacked")
    archive.unlink()
    return folder / "unpacked"


def npm(requirement: str, folder: Path) -> Path:
    """Install ``requirement`` and what it needs, without its build steps; return the modules."""
    if shutil.which("npm") is None:
        raise OutOfReach(f"{requirement} needs npm, which is not installed here.")
    _ask(
        requirement, "npm", "install", "--prefix", str(folder), "--omit=optional", "--omit=dev",
        "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", requirement,
    )  # fmt: skip
    return folder / "node_modules"


def _ask(requirement: str, *argv: str) -> None:
    try:
        command(*argv)
    except LabError as error:
        raise OutOfReach(f"{requirement} is not to be had here: {error}") from None
