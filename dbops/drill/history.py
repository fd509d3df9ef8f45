"""The drills that were done: a JSON file each under ``drills`` in the target's state directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dbops import handles
from dbops.contract import DrillResult
from dbops.errors import ConfigError, DbopsError
from dbops.targets import Target, first_complaint, state_folder

SCHEMA = 1


@cache
def _result() -> TypeAdapter[DrillResult]:
    return TypeAdapter(DrillResult)


def directory(target: Target) -> Path:
    """Return where the results of ``target`` are kept."""
    return target.state_dir / "drills"


def save(target: Target, result: DrillResult) -> Path:
    """Write ``result`` whole or not at all and return its file, named by the time it began.

    The file belongs to the group of the state directory, so that the exporter may read it, and to
    the account that runs, which is root's: nobody else may say that a backup is proven.
    """
    folder = directory(target)
    name = result.started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ.json")
    record = {"schema_version": SCHEMA, **_result().dump_python(result, mode="json")}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    with state_folder(target.state_dir) as above:
        group = os.fstat(above.handle).st_gid
    try:
        with handles.make(folder, os.geteuid(), group, 0o750) as place:
            place.write(name, text.encode(), os.geteuid(), group, 0o640)
            place.sync()
    except OSError as error:
        raise ConfigError(
            f"The drill's result cannot be written to {folder}: {error.strerror}."
        ) from None
    return folder / name


def load(target: Target, warn: Callable[[str], None] = lambda sentence: None) -> list[DrillResult]:
    """Return every readable result, oldest first; ``warn`` is told of each file that is not one."""
    results = []
    for path in _files(target):
        try:
            results.append(read(path))
        except DbopsError as error:
            warn(str(error))
    return sorted(results, key=lambda result: result.started_at)


def newest(target: Target, proven: bool = False) -> DrillResult | None:
    """Return the newest readable result, or the newest ``proven`` one; None when there is none."""
    for path in reversed(_files(target)):
        try:
            result = read(path)
        except DbopsError:
            continue
        if result.proven or not proven:
            return result
    return None


def read(path: Path) -> DrillResult:
    """Return the result in ``path``; ConfigError names the file when it is torn or foreign."""
    try:
        record = json.loads(handles.read_own(path))
        version = record.pop("schema_version", None) if isinstance(record, dict) else None
        if version != SCHEMA:
            raise ConfigError(
                f"Drill result {path} has schema {version!r} and not {SCHEMA}: "
                "it was written by another version and is left out."
            )
        return _result().validate_python(record)
    except OSError as error:
        raise ConfigError(
            f"Drill result {path} is left out, it cannot be read: {error.strerror}."
        ) from None
    except ValidationError as error:
        raise ConfigError(
            f"Drill result {path} is left out, it is not whole: {first_complaint(error)}."
        ) from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"Drill result {path} is torn and left out: remove it when it is not needed."
        ) from None


def _files(target: Target) -> list[Path]:
    """Return the paths of all records; ConfigError when another account may replace them."""
    folder = directory(target)
    try:
        with handles.folder(folder) as place:
            if place.safe:
                return sorted(folder / name for name in _names(place.handle))
        replaceable = handles.changeable_by_others(folder / "any")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}.") from None
    raise ConfigError(f"Drill results may be another account's: {replaceable}.")


def _names(handle: int) -> list[str]:
    return [name for name in os.listdir(handle) if name.endswith(".json")]
