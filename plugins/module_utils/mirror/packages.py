"""Debian packages as files: what they are, which one is wanted, and a distribution's own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")
_FIELDS = ("Package", "Version", "Architecture")
_PRINTED = re.compile(r"^'[^']*' (\S+\.deb) \d+ ", re.M)


class MirrorError(Exception):
    """The mirror cannot be made; the message says what is wrong and where."""


class Host(Protocol):
    """How commands are carried out here."""

    def run(self, *argv: str) -> str:
        """Return what a command printed; MirrorError with its last words when it fails."""

    def holds(self, *argv: str) -> bool:
        """Return whether a command ends with status 0."""


@dataclass(frozen=True)
class Package:
    """One package: what it is, and what its file holds."""

    name: str
    version: str
    sha256: str
    path: str

    @property
    def line(self) -> str:
        """The package in one line, for a diff."""
        return f"{self.name} {self.version} {self.sha256[:12]}".rstrip()


def digest(path: str) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(host: Host, path: str, architecture: str) -> Package:
    """Return the package in a file; MirrorError when it is none, or none for these hosts."""
    fields = dict(
        line.split(": ", 1) for line in host.run("dpkg-deb", "--field", path, *_FIELDS).splitlines()
    )
    if fields.get("Architecture") not in (architecture, "all"):
        raise MirrorError(
            f"{os.path.basename(path)} is for {fields.get('Architecture')}, "
            f"this mirror for {architecture}: take it out of the folder"
        )
    return Package(fields["Package"], fields["Version"], digest(path), path)


def newest(host: Host, packages: Iterable[Package]) -> dict[str, Package]:
    """Return the newest package of each name; of two with one version the first."""
    found: dict[str, Package] = {}
    for package in packages:
        known = found.get(package.name)
        if known is None or newer(host, package.version, known.version):
            found[package.name] = package
    return found


def newer(host: Host, one: str, other: str) -> bool:
    """Return whether version ``one`` comes after ``other``."""
    return host.holds("dpkg", "--compare-versions", one, "gt", other)


class Distribution:
    """The packages of this host's own distribution, with all they need on a bare one."""

    def __init__(self, host: Host, folder: str) -> None:
        self._host = host
        self.folder = folder

    def names(self, packages: list[str]) -> list[str]:
        """Return the names of the files that ``packages`` come in; MirrorError for an unknown."""
        if not packages:
            return []
        if wrong := [name for name in packages if not _NAME.fullmatch(name)]:
            raise MirrorError(f"{wrong[0]!r} is no name of a package")
        printed = self._apt("/nonexistent", "--print-uris", packages)
        return sorted(set(_PRINTED.findall(printed)))

    def fetch(self, packages: list[str], names: list[str]) -> None:
        """Bring the folder to exactly the files of ``names``; apt checks their signatures."""
        os.makedirs(os.path.join(self.folder, "partial"), exist_ok=True)
        there = {name for name in os.listdir(self.folder) if name.endswith(".deb")}
        for name in there - set(names):
            os.unlink(os.path.join(self.folder, name))
        if set(names) - there:
            self._apt(self.folder, "--download-only", packages)

    def _apt(self, folder: str, verb: str, packages: list[str]) -> str:
        # Without a list of what is installed, all that the packages need is named.
        options = {
            "Dir::State::status": "/dev/null",
            "Dir::Cache::archives": folder,
            "Debug::NoLocking": "1",
            "APT::Install-Recommends": "0",
            "APT::Sandbox::User": "",
        }
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return self._host.run("apt-get", "--yes", *given, verb, "install", "--", *packages)
