"""A real cell, attacked from inside: what runs in there reaches nothing and nobody.

Needs root, bubblewrap and user namespaces, as a drill host does.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbops import runner
from dbops.drill import isolation, scratch
from dbops.drill.isolation import Cell
from dbops.errors import CommandFailed, VerificationFailed

USER = "nobody"
OUT_OF_REACH = (("10.255.255.1", 5432),)
PYTHON = ("/usr/bin/python3", "-I", "-c")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes cells")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A scratch folder with a folder of the cell's account. Not pytest's: that is root's alone."""
    root = Path(tempfile.mkdtemp(prefix="dbops-cell-"))
    root.chmod(0o711)
    (root / "data").mkdir(mode=0o700)
    shutil.chown(root / "data", USER)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def cell(folder: Path) -> Cell:
    return Cell(USER, OUT_OF_REACH, folder)


def inside(cell: Cell, program: str, *arguments: object) -> str:
    """Run a program of Python in the cell and return what it printed."""
    return cell.run((*PYTHON, program, *map(str, arguments))).stdout.strip()


def attempt(cell: Cell, statement: str, *arguments: object) -> str:
    """Return the name of the error that a statement meets in the cell, ``done`` without one."""
    program = f"""
import ctypes, os, socket, sys
try:
    {statement}
    print("done")
except OSError as error:
    print(type(error).__name__)"""
    return inside(cell, program, *arguments)


def test_a_cell_is_proven(cell: Cell) -> None:
    assert "only lo" in cell.prove()


def test_no_server_of_the_host_is_reached(cell: Cell, folder: Path) -> None:
    connect = "socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)"
    abstract = "socket.socket(socket.AF_UNIX).connect(chr(0) + sys.argv[1])"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{folder}")
        unix.listen()
        port = tcp.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        assert attempt(cell, connect, port) == "ConnectionRefusedError"
        assert attempt(cell, abstract, folder) == "ConnectionRefusedError"


def test_no_socket_and_no_file_outside_of_the_scratch_folder_is_seen(cell: Cell) -> None:
    with tempfile.TemporaryDirectory() as elsewhere, socket.socket(socket.AF_UNIX) as unix:
        Path(elsewhere).chmod(0o755)
        Path(elsewhere, "file").write_text("secret")
        unix.bind(f"{elsewhere}/socket")
        shutil.chown(f"{elsewhere}/socket", USER)
        unix.listen()
        connect = "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        assert attempt(cell, connect, f"{elsewhere}/socket") == "FileNotFoundError"
        read = "open(sys.argv[1]).read()"
        for path in (f"{elsewhere}/file", "/etc/shadow", "/etc/hostname", "/proc/1/environ"):
            assert attempt(cell, read, path) == "FileNotFoundError", path
    seen = inside(cell, "import os; print(*os.listdir('/'), *os.listdir('/etc'))").split()
    assert not {"root", "home", "run", "var", "proc", "sys", "dbops", "ssh"} & set(seen)


def test_nothing_but_the_scratch_folder_is_written_to(cell: Cell, folder: Path) -> None:
    write = "open(sys.argv[1], 'w').write('x')"
    for place in ("/", "/etc", "/usr", "/usr/bin", "/dev", "/tmp", folder):
        path = Path(place, f"of-{folder.name}")
        assert attempt(cell, write, path) in ("OSError", "PermissionError", "FileNotFoundError")
        assert not path.exists()
    assert attempt(cell, write, folder / "data" / "x") == "done"
    assert (folder / "data" / "x").read_text() == "x"


def test_nobody_outside_is_seen_traced_or_killed(cell: Cell) -> None:
    kill = "os.kill(int(sys.argv[1]), 0)"
    trace = "assert ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0) != 0"
    neighbour = runner.Command(("/usr/bin/sleep", "60"), user=USER)
    with tempfile.TemporaryDirectory() as place:
        running = runner.start(neighbour, Path(place, "log"))
        try:
            for pid in (os.getpid(), running.pid):
                assert attempt(cell, kill, pid) == "ProcessLookupError"
                assert attempt(cell, trace, pid) == "done"
        finally:
            running.end(5)


def test_no_right_is_had_or_gained(cell: Cell, folder: Path) -> None:
    uid = pwd.getpwnam(USER).pw_uid
    program = folder / "data" / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    assert os.stat(program).st_uid == 0
    assert inside(cell, "import os; print(os.getresuid(), os.getgroups())").startswith(f"({uid},")
    assert cell.run((str(program), "-u")).stdout.strip() == str(uid)
    refused = ("OSError", "PermissionError")
    assert attempt(cell, "os.setuid(0)") in refused
    assert attempt(cell, "os.setgroups([0])") in refused
    mount = "assert ctypes.CDLL(None).mount(b'none', b'/usr', b'tmpfs', 0, None) == 0"
    with pytest.raises(CommandFailed):
        attempt(cell, mount)


def test_the_groups_of_who_starts_it_stay_outside(cell: Cell) -> None:
    before = os.getgroups()
    os.setgroups([0, 4, 6])
    try:
        said = inside(cell, "import os; print(os.getgroups())")
    finally:
        os.setgroups(before)
    assert said in ("[]", f"[{pwd.getpwnam(USER).pw_gid}]")


def test_the_environment_and_open_files_stay_outside(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBOPS_SECRET", "x")
    assert set(inside(cell, "import os; print(*os.environ)").split()) == {"LANG", "PATH", "HOME"}
    found = "import os\nfor n in range(3, 64):\n  try: os.fstat(n); print(n)\n  except OSError: 0"
    assert inside(cell, found) == ""


def test_a_given_environment_and_input_come_in(cell: Cell) -> None:
    program = "import os, sys; print(os.environ['A'], sys.stdin.read())"
    said = cell.run((*PYTHON, program), env={"A": "b"}, stdin="c").stdout
    assert said.split() == ["b", "c"]


_WITHOUT = """
import json, sys
from dbops.drill import entering
old, new = json.loads(sys.argv[1])
real = entering.bubblewrap
entering.bubblewrap = lambda *about: json.loads(
    json.dumps(real(*about)).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))
sys.exit(entering.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (["--unshare-net"], ["--unshare-user"], "shares the net namespace"),
        (["--unshare-ipc"], ["--unshare-user"], "shares the ipc namespace"),
        (["--unshare-uts"], ["--unshare-user"], "shares the uts namespace"),
        (["--as-pid-1"], ["--unshare-pid"], "not the first process"),
        (["--ro-bind", "/usr"], ["--bind", "/usr"], "/usr can be written to"),
        (["--remount-ro", "/"], ["--dir", "/"], "/ can be written to"),
        (["--perms"], ["--ro-bind", "/opt", "/opt", "--perms"], "it sees /opt"),
        (["--chdir"], ["--ro-bind", "/etc", "/etc", "--chdir"], "it sees /etc/"),
        (["--chdir"], ["--proc", "/proc", "--chdir"], "/proc"),
        (["--chdir"], ["--tmpfs", "/tmp", "--chdir"], "/tmp can be written to"),
        (["--chdir"], ["--setenv", "SECRET", "x", "--chdir"], "environment holds SECRET"),
    ],
)
def test_a_cell_that_lacks_anything_is_not_entered(
    cell: Cell, folder: Path, old: list[str], new: list[str], words: str
) -> None:
    command = cell.command(("/usr/bin/touch", str(folder / "data" / "entered")))
    argv = [sys.executable, "-c", _WITHOUT, json.dumps([old, new]), *command.argv[4:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert words in done.stderr
    assert not (folder / "data" / "entered").exists()


def test_a_host_that_is_reached_is_a_doubt(folder: Path) -> None:
    """A refusal counts: nothing of production may answer at all."""
    with pytest.raises(VerificationFailed, match=r"reaches the production server at 127\.0\.0\.1"):
        Cell(USER, (("127.0.0.1", 1),), folder).prove()


def test_a_program_that_talks_without_end_is_ended(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "OUTPUT_BYTES", 100_000)
    with pytest.raises(CommandFailed, match="yes wrote more than 100,000 bytes and was ended"):
        cell.capture(("/usr/bin/yes",), title="yes", timeout_seconds=60)


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def begun(cell: Cell, running: runner.Running, folder: Path) -> int:
    """Wait until the program runs and return its process."""
    wait((folder / "data" / "begun").exists, "the program")
    program = cell.program(running.pid)
    assert program is not None
    return program


def sleeper(folder: Path) -> tuple[str, ...]:
    # A shell that starts tests in the background lets them ignore SIGINT, and their children too.
    sleep = (
        "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "os.chdir(sys.argv[1]); open('begun', 'w').close(); time.sleep(600)"
    )
    return (*PYTHON, sleep, str(folder / "data"))


def test_a_running_program_is_proven_from_outside_and_ends_with_its_command(
    cell: Cell, folder: Path
) -> None:
    running = runner.start(cell.command(sleeper(folder)), folder / "log")
    program = begun(cell, running, folder)
    cell.prove_process(running.pid)
    assert program != running.pid
    cell.signal(running.pid, signal.SIGINT)
    wait(lambda: not running.alive(), "the end of the command")
    assert cell.program(running.pid) is None
    running.end(5)


def test_a_neighbour_outside_of_any_cell_is_doubted(cell: Cell, folder: Path) -> None:
    shell = ("/bin/sh", "-c", "/usr/bin/sleep 60; true")
    running = runner.start(runner.Command(shell, user=USER), folder / "log")
    try:
        with pytest.raises(VerificationFailed, match="shares the net namespace"):
            cell.prove_process(running.pid)
    finally:
        running.end(5)


_DRILL = """
import sys
from pathlib import Path
from dbops import runner
from dbops.drill.isolation import Cell
folder = Path(sys.argv[1])
cell = Cell(sys.argv[2], (), folder)
running = runner.start(cell.command(sys.argv[3:]), folder / "log")
print(running.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_drill_leaves_nothing_running(cell: Cell, folder: Path) -> None:
    argv = [sys.executable, "-c", _DRILL, str(folder), USER, *sleeper(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as drill:
        assert drill.stdout is not None
        pid = int(drill.stdout.readline())
        wait((folder / "data" / "begun").exists, "the program")
        program = cell.program(pid)
        assert program is not None
        drill.send_signal(signal.SIGKILL)
        drill.wait(10)
    wait(lambda: not Path(f"/proc/{program}/cwd").exists(), "the program's end")


def test_what_an_older_version_left_running_is_ended(folder: Path) -> None:
    (folder / "log").touch()
    running = runner.start(runner.Command(sleeper(folder), user=USER), folder / "log")
    wait((folder / "data" / "begun").exists, "the program")
    scratch.end((folder / "data",), {USER})
    wait(lambda: not running.alive(), "its end")
