"""Locks: one at a time, free after death, no trick with the file."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from dbops import lock
from dbops.errors import Busy, ConfigError
from tests.conftest import WriteTarget


def test_second_is_told_who_holds_it(write_target: WriteTarget) -> None:
    target = write_target()
    with (
        lock.hold(target, "backup"),
        pytest.raises(Busy, match=f"process {os.getpid()}"),
        lock.hold(target, "backup"),
    ):
        pass
    with lock.hold(target, "backup"):
        pass


def test_other_work_and_other_clusters_are_free(write_target: WriteTarget) -> None:
    first, second = write_target("flights"), write_target("hotels")
    with lock.hold(first, "backup"), lock.hold(first, "restore"), lock.hold(second, "backup"):
        pass


def test_released_after_a_failure(write_target: WriteTarget) -> None:
    target = write_target()
    with pytest.raises(ValueError, match="x"), lock.hold(target, "backup"):
        raise ValueError("x")
    with lock.hold(target, "backup"):
        pass


def test_a_killed_holder_blocks_nobody(write_target: WriteTarget) -> None:
    target = write_target()
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with lock.hold(target, "backup"):
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(Busy, match=f"process {child}"), lock.hold(target, "backup"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with lock.hold(target, "backup"):
        pass


def test_waits_for_one_that_ends_in_time(write_target: WriteTarget) -> None:
    target = write_target()
    held, ended = threading.Event(), []

    def other() -> None:
        with lock.hold(target, "backup"):
            held.set()
            time.sleep(0.5)
            ended.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(10)
    with pytest.raises(Busy), lock.hold(target, "backup", 0.1):
        pass
    with lock.hold(target, "backup", 30):
        assert ended
    thread.join()


def test_links_are_refused(write_target: WriteTarget) -> None:
    target = write_target()
    target.state_dir.mkdir(parents=True)
    elsewhere = target.state_dir / "elsewhere"
    elsewhere.write_text("precious")
    (target.state_dir / "backup.lock").symlink_to(elsewhere)
    with pytest.raises(ConfigError), lock.hold(target, "backup"):
        pass
    (target.state_dir / "restore.lock").hardlink_to(elsewhere)
    with pytest.raises(ConfigError), lock.hold(target, "restore"):
        pass
    assert elsewhere.read_text() == "precious"


def test_who_looks_sees_whether_it_is_held_and_disturbs_nobody(write_target: WriteTarget) -> None:
    target = write_target()
    assert not lock.held(target, "backup")
    with lock.hold(target, "backup"):
        assert lock.held(target, "backup")
        assert lock.held(target, "backup")
    assert not lock.held(target, "backup")
