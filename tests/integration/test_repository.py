"""The catalogue over a real restic repository."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbops import status
from dbops.contract import Progress
from dbops.errors import ConfigError, Refused, VerificationFailed
from dbops.manifest import Kind, Manifest
from dbops.repository import catalogue as stored
from dbops.repository import expiry, routes
from dbops.repository.catalogue import add, entries
from dbops.repository.restic import Repository
from dbops.repository.retention import Policy
from dbops.repository.routes import Entry, new_id
from dbops.targets import Objectives, Target

pytestmark = pytest.mark.integration
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ONE = Policy(1)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    key = tmp_path / "key"
    key.write_text("a long passphrase\n")
    key.chmod(0o600)
    made = Repository(str(tmp_path / "repo"), key)
    made.init()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(
        schema_version=1,
        engine="redis",
        cluster="store",
        part="repository",
        member="backup2",
        version="7.0",
        members=("redis1",),
        objectives=Objectives(rpo_seconds=60, rto_seconds=600),
        state_dir=tmp_path / "state",
    )


def manifest(kind: Kind, hours: float, parent_id: str | None = None) -> Manifest:
    stop = NOON + timedelta(hours=hours)
    return Manifest(
        engine="redis",
        version="7.0",
        cluster="store",
        member="redis1",
        backup_id=new_id(kind, stop, parent_id),
        kind=kind,
        parent_id=parent_id,
        start=stop - timedelta(minutes=5),
        stop=stop,
        start_point="1",
        stop_point="2",
        bytes_read=1,
        bytes_stored=1,
        encrypted=True,
        tool="restic",
        tool_version="0.14.0",
        dbops_version="0",
    )


def store(
    target: Target, repo: Repository, kind: Kind, hours: float, parent_id: str | None = None
) -> Manifest:
    made = manifest(kind, hours, parent_id)
    saved = repo.save_text(f"{made.backup_id}\n" * 1000, kind)
    add(target, repo, Entry(manifest=made, snapshots={kind: saved.snapshot_id}))
    return made


def test_a_chain_with_its_log_is_listed_and_chosen(target: Target, repo: Repository) -> None:
    assert stored.catalogue(repo).window is None
    full = store(target, repo, "full", 0)
    part = store(target, repo, "incremental", 1, full.backup_id)
    store(target, repo, "log", 2, part.backup_id)
    log = store(target, repo, "log", 3, part.backup_id)
    catalogue = stored.catalogue(repo)
    listed = [backup.backup_id for backup in catalogue.backups]
    assert listed == [full.backup_id, part.backup_id, log.backup_id]
    assert catalogue.window is not None
    assert (catalogue.window.oldest, catalogue.window.newest) == (full.stop, log.stop)
    found = entries(repo)
    assert [entry.manifest for entry in found] == [full, part, log]
    route = routes.route(found)
    assert [entry.backup_id for entry in route.chain] == [full.backup_id, part.backup_id]
    assert route.log is not None
    assert repo.read_text(route.log.snapshots["log"], "log").startswith(log.backup_id)


def test_what_is_not_stored_is_not_listed(target: Target, repo: Repository) -> None:
    full = manifest("full", 0)
    with pytest.raises(VerificationFailed, match="is not in the repository"):
        add(target, repo, Entry(manifest=full, snapshots={"full": "0" * 64}))
    part = {"part": repo.save_text("x", "part").snapshot_id}
    with pytest.raises(VerificationFailed, match="builds upon"):
        add(target, repo, Entry(manifest=manifest("log", 1, full.backup_id), snapshots=part))
    assert entries(repo) == ()
    store(target, repo, "full", 2)
    repo.forget([entries(repo)[0].snapshots["full"]])
    assert entries(repo) == ()
    assert any("not all its snapshots" in p for p in verify(target, repo))


def test_a_backup_is_listed_together_with_its_log(target: Target, repo: Repository) -> None:
    stored = {"part": repo.save_text("x", "part").snapshot_id}
    full = Entry(manifest=manifest("full", 0), snapshots=stored)
    log = Entry(manifest=manifest("log", 1, full.backup_id), snapshots=stored)
    with pytest.raises(VerificationFailed, match="builds upon"):
        add(target, repo, log, full)
    assert entries(repo) == ()
    add(target, repo, full, log)
    assert entries(repo) == (full, log)


def verify(target: Target, repo: Repository) -> tuple[str, ...]:
    return stored.verify(target, repo, lambda text: None).problems


def test_verify_names_the_backup_that_a_flipped_byte_hits(target: Target, repo: Repository) -> None:
    fine = store(target, repo, "full", 0)
    hit = store(target, repo, "full", 1)
    above = store(target, repo, "incremental", 2, hit.backup_id)
    assert verify(target, repo) == ()
    assert set(status.read(target)["verify"]["sound"]) == {
        fine.backup_id,
        hit.backup_id,
        above.backup_id,
    }
    flip_pack_of(repo, entries(repo)[1].snapshots["full"], "full")
    problems = verify(target, repo)
    assert any(p.startswith("pack ") for p in problems)
    assert any(p.startswith(f"backup {hit.backup_id}: full cannot be read") for p in problems)
    assert not any(fine.backup_id in p for p in problems)
    assert status.read(target)["verify"]["sound"] == [fine.backup_id]


def expire(target: Target, repo: Repository, progress: Progress) -> None:
    """Let retention act as it does after a backup, one full backup being kept."""
    forgotten = expiry.add(target, repo, (), ONE, progress)
    expiry.give_back(target, repo, forgotten, progress)


def flip_pack_of(repo: Repository, snapshot_id: str, name: str) -> None:
    """Damage the one pack without which a snapshot's file cannot be read."""
    assert repo.folder is not None
    for pack in sorted(repo.folder.glob("data/*/*")):
        whole = pack.read_bytes()
        pack.chmod(0o640)
        pack.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        try:
            replace(repo).read_text(snapshot_id, name)
        except Exception:
            return
        pack.write_bytes(whole)
    raise AssertionError("no pack holds it")


def test_a_damaged_catalogue_is_told_and_does_not_stop_backups(
    target: Target, repo: Repository
) -> None:
    first = store(target, repo, "full", 0)
    store(target, repo, "full", 1)
    newest = stored._generations(repo.listing())[0]
    flip_pack_of(repo, newest.snapshot_id, stored.FILE)
    repo = replace(repo)  # another run, which has read nothing yet
    with pytest.raises(VerificationFailed, match="catalogue of the repository is damaged"):
        entries(repo)
    assert any("catalogue of the repository is damaged" in p for p in verify(target, repo))
    third = store(target, repo, "full", 2)
    assert [e.manifest for e in entries(repo)] == [first, third]
    # What only the damaged one knew is not swept away, however old it gets.
    document = stored.read(repo, repo.listing())
    later = datetime.now(UTC) + timedelta(days=9)
    assert expiry.orphans(document, document.entries, repo.listing(), later) == []


def test_a_damaged_key_is_a_problem_and_written_down(target: Target, repo: Repository) -> None:
    store(target, repo, "full", 0)
    assert repo.folder is not None
    (key,) = (repo.folder / "keys").iterdir()
    whole = key.read_bytes()
    key.chmod(0o640)
    key.write_bytes(whole[:40])
    assert any(key.name in problem for problem in verify(target, repo))
    noted = status.read(target)["verify"]
    assert (noted["last_result"], noted["sound"]) == (0, [])


def test_expiry_takes_the_chain_and_never_the_last_verified(
    target: Target, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "READABLE_HOURS", 0)
    old = store(target, repo, "full", 0)
    part = store(target, repo, "incremental", 1, old.backup_id)
    store(target, repo, "log", 2, part.backup_id)
    assert verify(target, repo) == ()
    new = store(target, repo, "full", 3)
    said: list[str] = []
    expire(target, repo, said.append)
    assert "would leave no verified backup" in " ".join(said)
    assert len(entries(repo)) == 4
    with pytest.raises(Refused, match="no verified"):
        expiry.plan(target, repo, old.backup_id, ONE)
    with pytest.raises(ConfigError, match="No backup 'x'"):
        expiry.plan(target, repo, "x", ONE)
    assert verify(target, repo) == ()
    expire(target, repo, said.append)
    assert [e.manifest for e in entries(repo)] == [new]
    with pytest.raises(Refused, match="no full backup"):
        expiry.plan(target, repo, new.backup_id, ONE)
    assert verify(target, repo) == ()
    held = {path for snapshot in repo.snapshots() for path in snapshot.paths}
    assert held == {"/full", f"/{stored.FILE}"}


def test_what_killed_runs_left_is_removed_once_a_day(target: Target, repo: Repository) -> None:
    store(target, repo, "full", 0)

    def left_after(seconds: int) -> bool:
        """Tell whether data that no snapshot knows are there after one more backup."""
        repo.forget([repo.save_text(secrets.token_hex(2000), "lost").snapshot_id])
        packs = set((repo.folder or Path()).glob("data/*/*"))
        noted = datetime.now(UTC) - timedelta(seconds=seconds)
        status.update(target, "prune", {"last_success": noted.isoformat()})
        expire(target, repo, lambda text: None)
        return packs <= set((repo.folder or Path()).glob("data/*/*"))

    assert left_after(3600)
    assert not left_after(86400)
    assert not left_after(86400)
    assert verify(target, repo) == ()


SCRIPT = """
import sys
from pathlib import Path
from datetime import timedelta
from tests.integration.test_repository import manifest
from dbops.repository.catalogue import add
from dbops.repository.routes import Entry
from dbops.repository.restic import Repository
from dbops.targets import Target
target = Target.model_validate_json(sys.argv[1])
repo = Repository(sys.argv[2], Path(sys.argv[3]))
print("go", flush=True)
add(target, repo, Entry(manifest=manifest("full", 5), snapshots={"full": sys.argv[4]}))
"""


@pytest.mark.parametrize("after", [0.1, 0.5, 0.9, 1.3, 1.6, 1.9, 2.2, 2.5])
def test_a_killed_add_leaves_the_old_or_the_new(
    target: Target, repo: Repository, after: float
) -> None:
    old = store(target, repo, "full", 0)
    saved = repo.save_text("new", "full")
    given = (target.model_dump_json(), repo.location, str(repo.password_file), saved.snapshot_id)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *given],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.returncode in (0, -signal.SIGKILL)
    time.sleep(1)
    found = [entry.manifest for entry in entries(repo)]
    assert found in ([old], [old, manifest("full", 5)])
    later = store(target, repo, "full", 9)
    assert entries(repo)[-1].manifest == later
    assert verify(target, repo) == ()
