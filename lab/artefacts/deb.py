"""A Debian package out of a folder that holds its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.machine import command


@dataclass(frozen=True)
class About:
    """What a package says of itself, and the shell script that ends its installation."""

    name: str
    version: str
    depends: str
    description: str
    architecture: str = "amd64"
    conffiles: tuple[str, ...] = ()
    configure: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the package's file."""
        return f"{self.name}_{self.version}_{self.architecture}.deb"


def build(about: About, tree: Path, folder: Path) -> Path:
    """Pack ``tree`` into a package in ``folder``; return its file."""
    control = tree / "DEBIAN"
    control.mkdir()
    fields = {
        "Package": about.name,
        "Version": about.version,
        "Architecture": about.architecture,
        "Maintainer": "the lab <lab@example.invalid>",
        "Depends": about.depends,
        "Section": "database",
        "Priority": "optional",
        **about.more,
        "Description": about.description,
    }
    (control / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    if about.conffiles:
        (control / "conffiles").write_text("".join(f"{path}\n" for path in about.conffiles))
    if about.configure:
        script = f'#!/bin/sh\nset -e\n[ "$1" = configure ] || exit 0\n{about.configure}'
        write(control / "postinst", script, 0o755)
    target = folder / about.file
    # gzip at its fastest: the package is installed a few times and thrown away.
    packing = ("--root-owner-group", "-Zgzip", "-z1")
    command("dpkg-deb", *packing, "--build", str(tree), str(target))
    return target


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of a package, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.chmod(path, mode)
