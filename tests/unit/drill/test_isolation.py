"""The proof of isolation: any doubt stops it, before anything is started."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbops import runner
from dbops.drill import entering, isolated
from dbops.drill.isolation import Cell
from dbops.errors import CommandFailed, VerificationFailed

pytestmark = pytest.mark.unit

SCRATCH = Path("/var/lib/dbops/flights/scratch")
STATUS = """Name:\tpython3
Uid:\t990\t990\t990\t990
Gid:\t991\t991\t991\t991
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
"""
MOUNTS = """1 0 0:1 / / ro,nosuid,nodev - tmpfs tmpfs rw
2 1 0:2 /usr /usr ro,nosuid,nodev - ext4 /dev/vda rw
3 1 0:3 /null /dev/null rw,nosuid - tmpfs tmpfs rw
4 1 0:4 / /var/lib/dbops/flights/scratch rw,nosuid,nodev - ext4 /dev/vda rw
"""


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_interfaces_are_read_from_the_kernels_table() -> None:
    table = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\nveth1@x: 1\n"

    assert isolated.interfaces(table) == ["eth0", "lo", "veth1@x"]


def test_an_account_without_rights_is_not_doubted() -> None:
    assert isolated.rights(STATUS, 990, 991) is None


@pytest.mark.parametrize(
    ("now", "then", "word"),
    [
        ("Uid:\t990", "Uid:\t0", "account"),
        ("Gid:\t991\t991", "Gid:\t991\t0", "account"),
        ("Groups:\t", "Groups:\t27 991", "groups 27"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs"),
        ("NoNewPrivs:\t1", "", "no_new_privs"),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000000001", "CapEff"),
        ("CapAmb:\t0000000000000000", "", "CapAmb"),
    ],
)
def test_any_right_is_doubted(now: str, then: str, word: str) -> None:
    assert word in (isolated.rights(STATUS.replace(now, then), 990, 991) or "")


def test_only_the_scratch_folder_and_devices_may_be_written_to() -> None:
    assert isolated.writable(MOUNTS, str(SCRATCH)) is None
    assert "scratch can be written to" in (isolated.writable(MOUNTS, None) or "")


@pytest.mark.parametrize(
    ("now", "then", "word"),
    [
        ("/usr ro,nosuid", "/usr rw,nosuid", "/usr can be written to"),
        ("/usr ro,nosuid", "/us\\040r rw,nosuid", "/us r can be written to"),
        ("/usr ro,nosuid", "/usr ro", "/usr may raise their rights"),
    ],
)
def test_any_other_place_is_doubted(now: str, then: str, word: str) -> None:
    assert word in (isolated.writable(MOUNTS.replace(now, then), str(SCRATCH)) or "")


def test_a_server_that_answers_is_a_way_out(listener: int) -> None:
    assert isolated._answers("127.0.0.1", listener)


def test_a_refusal_is_a_way_out_as_well() -> None:
    assert isolated._answers("127.0.0.1", 1)


def test_outside_of_a_cell_everything_is_doubted() -> None:
    outer = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in isolated.NAMESPACES}
    proc = os.open("/proc", os.O_RDONLY)
    wish = {"proc": proc, "outer": outer, "scratch": None, "env": dict(os.environ)}
    try:
        assert "shares the net namespace" in (isolated.doubt(wish) or "")
        assert "its environment holds" in (isolated.doubt(wish | {"env": {}}) or "")
    finally:
        os.close(proc)


def done(status: int, stderr: str = "") -> runner.Completed:
    return runner.Completed(status, "", stderr)


def cell(monkeypatch: pytest.MonkeyPatch, answer: runner.Completed) -> Cell:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(runner, "capture", lambda command: answer)
    return Cell("dbops-drill", (("192.0.2.1", 5432),), SCRATCH)


def test_a_proof_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "only lo" in cell(monkeypatch, done(0)).prove()


@pytest.mark.parametrize(
    "answer",
    [
        done(isolated.NOT_ISOLATED, "Isolation is not proven: it sees eth0.\n"),
        done(1, "bwrap: No permissions to create new namespace\n"),
        done(1),
    ],
)
def test_any_failure_is_no_proof(monkeypatch: pytest.MonkeyPatch, answer: runner.Completed) -> None:
    with pytest.raises(VerificationFailed, match="not proven"):
        cell(monkeypatch, answer).prove()


def test_a_host_without_user_namespaces_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = done(1, "bwrap: No permissions to create new namespace\n")

    with pytest.raises(VerificationFailed, match="user namespaces"):
        cell(monkeypatch, answer).run(("/bin/program",))


def test_no_host_to_try_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(VerificationFailed, match="no production host"):
        Cell("dbops-drill", (), SCRATCH).prove()


def test_without_root_there_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(VerificationFailed, match="root"):
        Cell("dbops-drill", (("192.0.2.1", 5432),), SCRATCH).prove()


def test_a_program_that_fails_is_told_from_isolation_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CommandFailed):
        cell(monkeypatch, done(1, "no data directory\n")).run(("/bin/program",))


def test_the_program_comes_after_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = cell(monkeypatch, done(0)).command(("/bin/program", "--", "-x"), env={"A": "b"}).argv
    wish = json.loads(argv[4])

    assert argv[1:4] == ("-I", "-m", "dbops.drill.entering")
    assert argv[5:] == ("--", "/bin/program", "--", "-x")
    assert wish["user"] == "dbops-drill"
    assert wish["hosts"] == [["192.0.2.1", 5432]]
    assert wish["scratch"] == str(SCRATCH)
    assert wish["env"]["A"] == "b"


def test_nothing_of_the_host_but_its_programs_is_in_the_cell() -> None:
    handles = {"/etc/passwd": 5, "/etc/group": 6, isolated.SELF: 7, "scratch": 8}
    argv = entering.bubblewrap(str(SCRATCH), handles, {"A": "b"})
    writable = [argv[i + 2] for i, word in enumerate(argv) if word in ("--bind", "--bind-fd")]
    shown = [argv[i + 2] for i, word in enumerate(argv) if word.startswith("--ro-bind")]

    assert writable == [str(SCRATCH)]
    assert {"/usr", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", isolated.SELF} >= {
        place for place in shown if place not in ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
    }
    for kind in ("user", "net", "pid", "ipc", "uts"):
        assert f"--unshare-{kind}" in argv
    assert {"--die-with-parent", "--new-session", "--clearenv", "--as-pid-1"} <= set(argv)
    assert argv[-5:] == ["--remount-ro", "/", "--chdir", "/", "--"]


@pytest.mark.parametrize(
    ("user", "word"), [("root", "an account other than root"), ("nobody-such", "does not exist")]
)
def test_an_account_that_will_not_do_is_no_way_in(
    user: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = {"user": user, "hosts": [], "scratch": str(SCRATCH), "env": {}}

    assert entering.main([json.dumps(wish), "--"]) == isolated.NOT_ISOLATED
    assert word in capsys.readouterr().err


def test_without_bubblewrap_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entering, "BWRAP", "/nowhere/bwrap")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    wish = {"user": "nobody", "hosts": [], "scratch": str(SCRATCH), "env": {}}

    assert entering.main([json.dumps(wish), "--"]) == isolated.NOT_ISOLATED
    assert "install the package bubblewrap" in capsys.readouterr().err


def test_a_process_that_is_no_cells_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbops.drill.isolation._BEGIN_SECONDS", 0.05)

    with pytest.raises(VerificationFailed, match="no program in a cell"):
        Cell("nobody", (), SCRATCH).prove_process(2**22 + 1)
