"""The proof of isolation: any doubt stops it, before anything is started."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops import isolated, isolation, runner
from dbops.errors import CommandFailed, VerificationFailed
from dbops.isolation import Cell

pytestmark = pytest.mark.unit


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_interfaces_are_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "dev"
    table.write_text("Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\nveth1@x: 1\n")

    assert isolated.interfaces(str(table)) == ["eth0", "lo", "veth1@x"]


def test_the_hosts_own_namespace_is_doubted() -> None:
    own = os.readlink("/proc/self/ns/net")

    assert "shares the network namespace" in (isolated.doubt(own, []) or "")


def test_another_interface_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "interfaces", lambda: ["eth0", "lo"])

    assert "eth0" in (isolated.doubt("net:[0]", []) or "")


def test_no_interface_at_all_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "interfaces", list)

    assert isolated.doubt("net:[0]", []) is not None


def test_a_server_that_answers_is_a_way_out(listener: int) -> None:
    assert isolated._answers("127.0.0.1", listener)


def test_a_refusal_is_a_way_out_as_well() -> None:
    assert isolated._answers("127.0.0.1", 1)


def done(status: int, stderr: str = "") -> runner.Completed:
    return runner.Completed(status, "", stderr)


def cell(monkeypatch: pytest.MonkeyPatch, answer: runner.Completed) -> Cell:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(runner, "capture", lambda command: answer)
    return Cell("postgres", (("192.0.2.1", 5432),))


def test_a_proof_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "only lo" in cell(monkeypatch, done(0)).prove()


@pytest.mark.parametrize(
    "answer",
    [
        done(isolated.NOT_ISOLATED, "Isolation is not proven: it sees eth0.\n"),
        done(1, "unshare: unshare failed: Operation not permitted\n"),
        done(1),
    ],
)
def test_any_failure_is_no_proof(monkeypatch: pytest.MonkeyPatch, answer: runner.Completed) -> None:
    with pytest.raises(VerificationFailed, match="not proven"):
        cell(monkeypatch, answer).prove()


def test_no_host_to_try_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(VerificationFailed, match="no production host"):
        Cell("postgres", ()).prove()


def test_without_root_there_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(VerificationFailed, match="root"):
        Cell("postgres", (("192.0.2.1", 5432),)).prove()


def test_a_program_that_fails_is_told_from_isolation_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CommandFailed):
        cell(monkeypatch, done(1, "no data directory\n")).run(("/bin/program",))


def test_the_program_comes_after_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = cell(monkeypatch, done(0)).command(("/bin/program", "--", "-x")).argv

    assert argv[:3] == ("unshare", "--net", "--")
    assert argv[-3:] == ("/bin/program", "--", "-x")
    assert "192.0.2.1:5432" in argv


def test_a_running_process_on_the_hosts_network_is_doubted() -> None:
    with pytest.raises(VerificationFailed, match="on a network"):
        isolation.prove_process(os.getpid())


def test_a_process_that_is_gone_is_doubted() -> None:
    with pytest.raises(VerificationFailed, match="cannot be examined"):
        isolation.prove_process(2**22 + 1)
