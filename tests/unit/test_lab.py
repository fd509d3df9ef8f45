"""Labs that come up at once on a new machine, and their hosts' addresses."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lab import fleet, machine
from lab.fleet import Lab


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what two labs did, of which one found the machine not ready."""
    order: list[str] = []

    def install() -> None:
        order.append("begin")
        time.sleep(0.3)
        order.append("end")

    monkeypatch.setattr(machine, "RUN", tmp_path / "run")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "_install", install)
    monkeypatch.setattr(machine, "_namespace", lambda: None)
    both = [threading.Thread(target=machine.prepare) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(10)
    return order


def test_the_machine_is_made_ready_by_one_of_them(done: list[str]) -> None:
    assert done == ["begin", "end", "begin", "end"]


def test_every_host_has_a_hardware_address_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "CHECKOUT", tmp_path)
    lab = Lab("some", "bookworm", ("postgresql", "redis"), ("next1",))
    lab.state.mkdir(parents=True)
    (lab.state / "subnet").write_text("10.117.200")
    found = [lab.hardware_address(host) for host in lab.hosts]
    assert len(set(found)) == len(lab.hosts)
    assert all(one.startswith("02:00:0a:75:c8:") and len(one) == 17 for one in found)
