"""Target files: what a role tells dbops about one cluster on this host.

A role renders ``/etc/dbops/targets/<cluster>.json``; nothing in dbops writes one. A target holds
no secret, only the paths of files that do. What is *not* here: engine-specific settings, which
stand under ``options`` and are checked by the engine's own model.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dbops import handles
from dbops.errors import ConfigError

TARGETS_DIR = Path("/etc/dbops/targets")
SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62})*")


class Model(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Objectives(Model):
    """What the owner of the data was promised, in seconds."""

    rpo_seconds: float = Field(gt=0)
    rto_seconds: float = Field(gt=0)


class Target(Model):
    """One cluster as seen from one host.

    ``part`` is what this host is to the cluster: a *member* serves the data, a *repository* keeps
    its backups, a *drill* host restores them to prove them.
    """

    schema_version: Literal[1]
    engine: str
    cluster: str
    part: Literal["member", "repository", "drill"]
    member: str
    version: str
    members: tuple[str, ...]
    objectives: Objectives
    state_dir: Path
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("cluster", "engine")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return plain_name(value)

    @field_validator("member")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return host_name(value)

    @field_validator("members")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host_name(one) for one in value)


def plain_name(value: str) -> str:
    """Return ``value`` if it may name a cluster or an engine, else raise ValueError."""
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name: use lower-case letters, digits, '-' and '_', "
            "starting with a letter or digit, 63 at most"
        )
    return value


def host_name(value: str) -> str:
    """Return ``value`` if it may name a member, as the inventory does, else raise ValueError.

    It is a host's name with or without a domain, and the name of a folder in places.
    """
    if not _HOST.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the name of a host: use lower-case letters, digits, '-' and '_', "
            "and dots between the parts"
        )
    return value


def load(cluster: str, directory: Path = TARGETS_DIR) -> Target:
    """Read the target of ``cluster``; ConfigError says what is wrong with it and what to do."""
    return read(find(cluster, directory))


def find(cluster: str, directory: Path = TARGETS_DIR) -> Path:
    """Return the target file of ``cluster``; ConfigError names those that there are."""
    try:
        plain_name(cluster)
    except ValueError as error:
        raise ConfigError(f"Cluster name: {error}.") from None
    path = directory / f"{cluster}.json"
    if not path.exists():
        known = ", ".join(names(directory)) or "none"
        raise ConfigError(f"No target {cluster!r} on this host (known here: {known}).")
    return path


def names(directory: Path = TARGETS_DIR) -> list[str]:
    """Return the clusters that have a target file in ``directory``, sorted."""
    try:
        return sorted(path.stem for path in directory.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []
    except PermissionError:
        raise ConfigError(f"{directory} may not be read: run dbops as root.") from None


def read(path: Path) -> Target:
    """Read one target file, refusing one that others may read or its group may write."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Target file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"Target file {path} is not UTF-8 text: render it again.") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(
            f"Target file {path} has mode {stat.S_IMODE(mode):04o}, open to others: chmod 0640 it."
        )
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"Target file {path} is not JSON (line {error.lineno}, column {error.colno}: "
            f"{error.msg}): render it again with the role."
        ) from None
    try:
        return Target.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"Target file {path}: {first_complaint(error)}.") from None


def first_complaint(error: ValidationError) -> str:
    """Return the first complaint of a validation as ``where: what``."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{where}: {first['msg']}"


def read_secret(path: Path) -> str:
    """Return the one line in a secret file; refuse a file that group or others may touch.

    The value is registered with the runner, so that it is masked wherever it would be printed.
    """
    from dbops.runner import register_secret

    try:
        mode = path.stat().st_mode
        value = path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(f"Secret file {path} cannot be read: {error.strerror}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"Secret file {path} has mode {stat.S_IMODE(mode):04o}, open to others: chmod 0600 it."
        )
    if not value:
        raise ConfigError(f"Secret file {path} is empty: run secure again.")
    return register_secret(value)


def state_folder(path: Path) -> handles.Folder:
    """Open the state directory ``path``, made with mode 0750 if it is absent.

    Raises ConfigError when this account may not write there, when a link is in the way, and for
    root when another account may put something else in its place.
    """
    try:
        replaceable = handles.changeable_by_others(path) if os.geteuid() == 0 else None
        if replaceable:
            raise ConfigError(f"{replaceable}, then run again.")
        place = handles.ensure(path)
    except OSError as error:
        raise ConfigError(
            f"The state directory {path} cannot be made or opened: {error.strerror}."
        ) from None
    if not os.access(".", os.W_OK, dir_fd=place.handle):
        os.close(place.handle)
        raise ConfigError(f"{path} may not be written by this account: run dbops as root.")
    return place
