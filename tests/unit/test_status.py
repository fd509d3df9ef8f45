"""What is noted of attempts: running, ended, or killed on the way."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from dbops import status
from dbops.check import lines
from dbops.contract import Check
from dbops.errors import CommandFailed
from dbops.targets import Target
from tests.conftest import WriteTarget

ATTEMPT = """
import sys, time
from dbops import status
from dbops.targets import Target
with status.recorded(Target.model_validate_json(sys.argv[1]), "full"):
    print("begun", flush=True)
    time.sleep(60)
"""


def last(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = status.read(target)["kinds"]["full"]
    return found


def checks(target: Target) -> list[Check]:
    return [check for check in lines.attempts(target) if "backup" in check.name]


def failed(target: Target) -> None:
    """Let an attempt fail."""
    with pytest.raises(CommandFailed), status.recorded(target, "full"):
        raise CommandFailed("The disk is full.")


def test_an_attempt_that_runs_is_no_failure(write_target: WriteTarget) -> None:
    target = write_target()
    with status.recorded(target, "full"):
        assert checks(target) == []
        assert last(target)["running"]
    failed(target)
    (check,) = checks(target)
    assert (check.ok, check.detail) == (False, "The disk is full.")
    status.update(target, "kinds", {"last_result": 1}, kind="full")
    with status.recorded(target, "full"):
        status.update(target, "kinds", {"last_result": 1}, kind="log")
        assert all(check.ok for check in checks(target))


def test_a_killed_attempt_is_a_failed_one(write_target: WriteTarget) -> None:
    target = write_target()
    status.update(target, "kinds", {"last_result": 1, "last_success": "2026-01-01"}, kind="full")
    argv = [sys.executable, "-c", ATTEMPT, target.model_dump_json()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert last(target)["last_result"] == 1
        process.kill()
    assert last(target)["last_result"] == 0
    assert last(target)["last_success"] == "2026-01-01"
    (check,) = checks(target)
    assert (check.ok, check.detail) == (False, "did not end")
    status.update(target, "kinds", {"last_result": 1}, kind="log")
    assert last(target)["message"] == "did not end"
