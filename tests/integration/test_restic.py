"""The restic repository, with the real restic: what is torn, damaged, locked or not allowed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dbops.errors import CommandFailed, ConfigError, DbopsError, Refused
from dbops.repository import restic
from dbops.repository.restic import Repository
from dbops.repository.restic_check import inspect
from dbops.runner import Command

pytestmark = pytest.mark.integration
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def password(path: Path, text: str = "a long passphrase\n") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    made = Repository(str(tmp_path / "repo"), password(tmp_path / "key"))
    assert made.init()
    return made


def shell(script: str) -> Command:
    return Command(("/bin/sh", "-c", script), title="the producer")


def ids(repo: Repository) -> list[str]:
    return [snapshot.snapshot_id for snapshot in repo.snapshots()]


def problems(repo: Repository) -> tuple[str, ...]:
    """Read everything back; return what is damaged, and the ids of the snapshots that are hit."""
    found = inspect(repo, lambda text: None)
    return (*found.damaged, *found.unreadable)


def test_a_stream_comes_back_whole(repo: Repository, tmp_path: Path) -> None:
    said: list[str] = []
    saved = repo.save_stream(
        shell("echo position 7 >&2; seq 1 400000"), "base.rdb", ("full", "id-1"), said.append
    )
    assert saved.bytes_read == 2_688_895
    assert 0 < saved.bytes_stored < saved.bytes_read
    assert "position 7" in said
    (snapshot,) = repo.snapshots("id-1")
    assert snapshot.snapshot_id == saved.snapshot_id
    assert (snapshot.tags, snapshot.paths) == (("full", "id-1"), ("/base.rdb",))
    done = repo.dump(saved.snapshot_id, "base.rdb", Command(("wc", "-lc")))
    assert done.stdout.split() == ["400000", "2688895"]
    repo.restore(saved.snapshot_id, tmp_path / "out")
    assert (tmp_path / "out" / "base.rdb").stat().st_size == 2_688_895
    assert problems(repo) == ()


def test_init_is_done_once_and_opens_to_the_group(repo: Repository) -> None:
    assert not repo.init()
    assert repo.folder is not None
    saved = repo.save_text("x", "a")
    modes = {oct(path.stat().st_mode & 0o777) for path in repo.folder.rglob("*") if path.is_file()}
    assert modes == {"0o440"}
    assert (repo.folder / "data").stat().st_mode & 0o777 == 0o750
    assert ids(repo) == [saved.snapshot_id]


def test_folders_and_text(repo: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "1").write_text("é")
    saved = repo.save_paths([folder])
    assert repo.read_text(saved.snapshot_id, str(folder / "1")) == "é"
    assert repo.read_text(repo.save_text("ü\n", "note").snapshot_id, "note") == "ü\n"


def test_what_a_run_has_listed_the_next_one_knows(repo: Repository, tmp_path: Path) -> None:
    """With a passphrase file that is not there, whatever restic is asked fails."""
    kept = tmp_path / "kept.json"
    mine = replace(repo, memory_file=kept)
    first = mine.save_text("one", "text")
    second = mine.save_text("two", "text")
    third = mine.save_text("three", "text")
    assert len(mine.snapshots()) == 3
    assert mine.forget([second.snapshot_id])

    deaf = replace(repo, memory_file=kept, password_file=tmp_path / "absent")
    assert ids(deaf) == [first.snapshot_id, third.snapshot_id]
    assert deaf.read_text(third.snapshot_id, "text") == "three"
    with pytest.raises(ConfigError, match="absent"):
        deaf.read_text(first.snapshot_id, "text")
    with pytest.raises(ConfigError, match="absent"):
        ids(replace(deaf, memory_file=None))
    fourth = repo.save_text("four", "text")
    changed = replace(repo, memory_file=kept, password_file=tmp_path / "absent")
    with pytest.raises(ConfigError, match="absent"):
        ids(changed)
    assert ids(replace(repo, memory_file=kept))[-1] == fourth.snapshot_id
    assert kept.stat().st_mode & 0o777 == 0o640
    kept.write_text("{")
    assert len(ids(replace(repo, memory_file=kept))) == 3


def test_a_path_that_is_not_there_leaves_no_snapshot(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    with pytest.raises(CommandFailed, match="absent"):
        repo.save_paths([tmp_path / "there", tmp_path / "absent"])
    assert ids(repo) == []


@pytest.mark.parametrize(
    "script",
    [
        "exit 3",
        "head -c 100000 /dev/urandom; exit 3",
        "head -c 30000000 /dev/urandom; exit 3",
        "head -c 3000000 /dev/urandom; sleep 1; kill -9 $$",
        "kill -9 $$",
    ],
)
def test_a_torn_producer_is_never_listed(repo: Repository, script: str) -> None:
    with pytest.raises(CommandFailed, match=r"the producer failed with exit status (3|-9): tears"):
        repo.save_stream(shell(f"echo tears >&2; {script}"), "base.rdb")
    assert ids(repo) == []
    assert repo.save_text("x", "a").snapshot_id in ids(repo)


def killed_while_it_saves(repo: Repository, after: float) -> None:
    """Let a restic be killed that many seconds after it has begun to save a stream."""

    def kill() -> None:
        time.sleep(after)
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            argv = entry.read_bytes().split(b"\0") if entry.exists() else []
            if argv and argv[0] == b"restic" and repo.location.encode() in argv:
                os.kill(int(entry.parent.name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(CommandFailed, match="killed"):
        repo.save_stream(shell("head -c 1000000 /dev/urandom; sleep 5"), "base.rdb")
    killer.join()


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.5])
def test_a_killed_restic_leaves_no_snapshot_and_no_hindrance(
    repo: Repository, after: float
) -> None:
    killed_while_it_saves(repo, after)
    assert ids(repo) == []
    saved = repo.save_text("x", "a")
    assert repo.forget([saved.snapshot_id])
    repo.prune()
    assert ids(repo) == []


def test_a_slow_machine_gets_past_the_lock_of_a_killed_restic_too(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = repo.save_text("x", "a")
    killed_while_it_saves(repo, 2)
    assert list((repo.folder or Path()).glob("locks/*")), "it was killed before it had a lock"
    monkeypatch.setattr(restic, "FORGET_WAIT_SECONDS", 0.0)  # over when restic has said it once
    assert repo.forget([saved.snapshot_id])
    assert ids(repo) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_said_so_and_gives_way(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", small], check=True)
    try:
        repo = Repository(str(small / "repo"), password(tmp_path / "key"))
        repo.init()
        with pytest.raises(
            CommandFailed, match=r"restic backup (failed|was killed).*no space left"
        ):
            repo.save_stream(Command(("head", "-c", "90000000", "/dev/urandom")), "base.rdb")
        assert ids(repo) == []
        saved = repo.save_text("x", "a")
        assert repo.forget([saved.snapshot_id])
        repo.prune()
        assert problems(repo) == ()
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_wrong_passphrase_is_one_clear_sentence(repo: Repository, tmp_path: Path) -> None:
    other = Repository(repo.location, password(tmp_path / "other", "wrong\n"))
    for act in (other.exists, other.init, other.snapshots, lambda: other.save_text("x", "a")):
        with pytest.raises(ConfigError, match=r"^The passphrase in .*other does not open .*\.$"):
            act()
    with pytest.raises(ConfigError, match="passphrase"):
        problems(other)


def test_the_passphrase_is_on_no_command_line_and_its_file_is_private(repo: Repository) -> None:
    assert not any("a long passphrase" in word for word in repo.command("backup").argv)
    repo.password_file.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        repo.snapshots()


def test_no_repository_is_said_so(tmp_path: Path) -> None:
    nowhere = Repository(str(tmp_path / "none"), password(tmp_path / "key"))
    assert not nowhere.exists()
    with pytest.raises(ConfigError, match="no repository at"):
        nowhere.snapshots()


def test_two_at_once_both_come_through(repo: Repository) -> None:
    found: list[object] = []

    def save(name: str) -> None:
        found.append(repo.save_stream(shell("sleep 1; head -c 2000000 /dev/urandom"), name))

    threads = [threading.Thread(target=save, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    time.sleep(0.9)
    assert repo.forget(["0" * 64])
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert {path for snapshot in repo.snapshots() for path in snapshot.paths} == {"/a", "/b"}
    assert problems(repo) == ()


def test_nothing_is_forgotten_under_a_running_backup(repo: Repository) -> None:
    saved = repo.save_text("x", "a")
    running = threading.Thread(target=lambda: repo.save_stream(shell("sleep 9; echo"), "b"))
    running.start()
    assert repo.folder is not None
    while not any((repo.folder / "locks").iterdir()):
        assert running.is_alive()
        time.sleep(0.05)
    assert not repo.forget([saved.snapshot_id])
    assert saved.snapshot_id in ids(repo)
    running.join()
    assert repo.forget([saved.snapshot_id])


def test_a_check_is_not_misled_by_runs_that_go_on(repo: Repository) -> None:
    repo.save_stream(Command(("head", "-c", "30000000", "/dev/urandom")), "big")
    over = threading.Event()

    def go_on() -> None:
        former: list[str] = []
        while not over.is_set():
            saved = repo.save_stream(Command(("head", "-c", "5000000", "/dev/urandom")), "log")
            repo.forget(former)
            former = [saved.snapshot_id]

    running = threading.Thread(target=go_on)
    running.start()
    try:
        found = [problems(repo) for _ in range(4)]
    finally:
        over.set()
        running.join()
    assert found == [()] * 4


def flip(path: Path, offset: int) -> None:
    path.chmod(0o640)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def biggest(repo: Repository) -> Path:
    assert repo.folder is not None
    return max(repo.folder.glob("data/*/*"), key=lambda path: path.stat().st_size)


def test_a_flipped_byte_is_found_and_named(repo: Repository) -> None:
    hit = repo.save_stream(Command(("head", "-c", "9000000", "/dev/urandom")), "hit")
    fine = repo.save_text("fine", "fine")
    pack = biggest(repo)
    flip(pack, 500_000)
    found = inspect(repo, lambda text: None)
    assert found.files_checked > 4
    assert any(f"pack {pack.name} is damaged" in problem for problem in found.damaged)
    assert set(found.unreadable) == {hit.snapshot_id}
    with pytest.raises(CommandFailed, match=r"dump of hit failed"):
        repo.dump(hit.snapshot_id, "hit", Command(("dd", "of=/dev/null")))
    assert repo.read_text(fine.snapshot_id, "fine") == "fine"


@pytest.mark.parametrize("kind", ["index", "snapshots", "keys", "config"])
def test_a_flipped_byte_in_any_other_file_is_found_too(repo: Repository, kind: str) -> None:
    repo.save_text("a", "a")
    assert repo.folder is not None
    place = repo.folder / kind
    file = place if place.is_file() else next(iter(place.iterdir()))
    flip(file, 40)
    assert file.name[:8] in told(repo)


def told(repo: Repository) -> str:
    """Return what a check says, or why it cannot even begin."""
    try:
        return " ".join(problems(repo))
    except DbopsError as error:
        return str(error)


def test_a_missing_pack_is_found(repo: Repository) -> None:
    hit = repo.save_stream(Command(("head", "-c", "100000", "/dev/urandom")), "hit")
    pack = biggest(repo)
    pack.unlink()
    found = problems(repo)
    assert any(pack.name in problem for problem in found)
    assert hit.snapshot_id in found


def test_a_file_that_another_run_is_writing_is_no_damage(repo: Repository) -> None:
    repo.save_text("x", "a")
    for kind in ("index", "keys", "snapshots"):
        (place,) = Path(repo.location, kind).iterdir()
        place.with_name(f"{place.name}-tmp-3351227616").write_bytes(place.read_bytes()[:40])
    assert problems(repo) == ()


def writes(repo: Repository, snapshot_id: str) -> tuple[Callable[[], object], ...]:
    """Return each way of changing a repository, to be tried."""
    return lambda: repo.save_text("x", "a"), lambda: repo.forget([snapshot_id]), repo.prune


@pytest.mark.skipif(not SFTP_SERVER.exists(), reason="needs openssh-sftp-server")
def test_a_reader_by_sftp_reads_and_cannot_write(repo: Repository, tmp_path: Path) -> None:
    saved = repo.save_text("text", "a")
    server = f"{SFTP_SERVER} -R"
    reader = Repository(
        f"sftp:dbops-reader@nowhere:{repo.location}",
        repo.password_file,
        read_only=True,
        sftp_command=server,
    )
    assert ids(reader) == [saved.snapshot_id]
    assert reader.read_text(saved.snapshot_id, "a") == "text"
    assert problems(reader) == ()
    for act in writes(reader, saved.snapshot_id):
        with pytest.raises(Refused, match="only read from this host"):
            act()
    taken_over = Repository(reader.location, repo.password_file, sftp_command=server)
    acts = writes(taken_over, saved.snapshot_id)
    with ThreadPoolExecutor() as pool:  # restic tries each again for most of a minute
        for refused in [pool.submit(act) for act in acts]:
            assert isinstance(refused.exception(), DbopsError)
    assert ids(repo) == [saved.snapshot_id]


def test_ssh_that_does_not_answer_is_unreachable(repo: Repository, tmp_path: Path) -> None:
    reader = Repository(
        "sftp:dbops-reader@127.0.0.1:/none",
        repo.password_file,
        ssh_key=tmp_path / "no key",
        known_hosts=tmp_path / "no hosts",
        read_only=True,
    )
    command = " ".join(reader.command("snapshots").argv)
    for part in ("BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile="):
        assert part in command
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh")
    with pytest.raises(DbopsError, match="cannot be reached"):
        reader.snapshots()
