"""Backups of a real server: what comes back, to which moment, and what is never listed."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from dbops import lock, status
from dbops.contract import BackupRequest, RestoreRequest
from dbops.engines.redis import (
    aof,
    backup,
    catalogue,
    fingerprint,
    monitor,
    private_server,
    shipping,
    spool,
)
from dbops.engines.redis.private_server import Place
from dbops.engines.redis.spool import Spool
from dbops.errors import (
    Busy,
    CommandFailed,
    ConfigError,
    DbopsError,
    Unreachable,
    VerificationFailed,
)
from dbops.repository import catalogue as stored
from dbops.repository import routes
from dbops.repository.restic import Repository
from tests.integration.redis.conftest import Launch
from tests.integration.redis.server import wait
from tests.integration.redis.site import Site, Writer, follow_primary_of
from tests.integration.redis.test_content import DATA


@pytest.fixture
def site(folder: Path, launch: Launch, bin_dir: Path, options: Any, monkeypatch: Any) -> Site:
    """A small cluster with some data."""
    if shutil.which("restic") is None:
        pytest.skip("restic is not installed")
    site = Site(folder, bin_dir, options.flavor, launch)
    follow_primary_of(site, monkeypatch)
    site.primary.run(*DATA)
    site.settle()
    return site


def test_a_full_backup_comes_back_as_it_was(site: Site) -> None:
    manifest = site.take()
    assert site.backups() == [manifest.backup_id]
    (recorded,) = manifest.fingerprints
    site.primary.run(("SET", "later", 1))
    with site.restored(RestoreRequest(backup_id=manifest.backup_id)) as connection:
        found = fingerprint.of_server(connection, "", datetime.now(UTC), 0, lambda text: None)
        assert found.databases == recorded.databases
        assert connection.ask("GET", "later") is None


def test_the_log_brings_back_what_came_since(site: Site) -> None:
    site.take()
    site.primary.run(("SET", "later", 1))
    site.settle()
    log = site.take("log")
    assert log.kind == "log"
    with site.restored() as connection:
        assert connection.ask("GET", "later") == b"1"
    site.primary.run(("SET", "later", 2))
    site.settle()
    site.take("log")
    with site.restored() as connection:
        assert connection.ask("GET", "later") == b"2"
    logs = [one for one in stored.entries(site.repo) if one.manifest.kind == "log"]
    assert len(logs) == 1


def test_a_log_backup_of_nothing_stores_nothing(site: Site) -> None:
    site.take()
    site.primary.run(("SET", "later", 1))
    site.settle()
    first = site.take("log")
    assert site.take("log") == first


def test_a_restore_to_a_time_ends_within_its_second(site: Site) -> None:
    with Writer(site.primary) as writer:
        time.sleep(0.5)
        site.take(fingerprint=False)
        time.sleep(4)
    site.settle()
    log = site.take("log")
    moment = writer.moments[-1].replace(microsecond=0) - timedelta(seconds=1)
    with site.restored(RestoreRequest(time=moment)) as connection:
        last = int(connection.ask("GET", "counter"))
        numbers = [int(one) for one in connection.ask("LRANGE", "numbers", 0, -1)]
    # Redis notes whole seconds: all of the second asked for comes back, and nothing of the next.
    inside = [n for n, at in enumerate(writer.moments) if at < moment + timedelta(seconds=1)]
    assert inside[-1] - 5 <= last <= inside[-1] + 5
    assert numbers == list(range(len(numbers)))
    with pytest.raises(DbopsError, match=r"20\d\d-"):
        site.restored(RestoreRequest(time=log.stop + timedelta(seconds=90))).__enter__()


def test_a_time_just_after_the_backup_needs_none_of_its_log(site: Site) -> None:
    manifest = site.take()
    time.sleep(2.1)
    site.primary.run(("SET", "later", 1))
    site.settle()
    site.take("log")
    with site.restored(RestoreRequest(time=manifest.stop)) as connection:
        assert connection.ask("GET", "later") is None
        assert connection.ask("GET", "text") == b"value"


def test_the_first_log_backup_takes_a_full_one(site: Site) -> None:
    log = site.take("log")
    (full,) = site.backups()
    assert log.parent_id == full


def test_a_new_copy_of_everything_starts_the_log_anew(site: Site) -> None:
    site._options["keep_full"] = 1
    first = site.take()
    site.primary.run(("DEBUG", "CHANGE-REPL-ID"))
    site.replica.run(("REPLICAOF", "NO", "ONE"), ("DEBUG", "CHANGE-REPL-ID"))
    site.primary.run(("SET", "unseen", 1))
    site.replica.follow(site.primary)
    wait(lambda: site.replica.info("persistence")["aof_rewrite_in_progress"] == "0", "a base")
    log = site.take("log")
    assert log.parent_id != first.backup_id
    assert site.backups() == [first.backup_id, log.parent_id], "it pushes out none asked for"
    automatic = [one.manifest.automatic for one in stored.entries(site.repo)]
    assert automatic == [False, True]
    with site.restored() as connection:
        assert connection.ask("GET", "unseen") == b"1"
    newest = site.take()
    assert site.backups() == [newest.backup_id]


def test_what_only_the_replica_has_is_stored_when_the_primary_is_gone(site: Site) -> None:
    first = site.take()
    site.primary.run(("DEBUG", "CHANGE-REPL-ID"), ("SET", "unseen", 1))
    site.replica.run(("REPLICAOF", "NO", "ONE"), ("DEBUG", "CHANGE-REPL-ID"))
    site.replica.follow(site.primary)
    wait(lambda: site.replica.info("persistence")["aof_rewrite_in_progress"] == "0", "a base")
    site.primary.kill()
    with pytest.raises(Unreachable, match="not in step"):
        site.take()
    log = site.take("log")
    assert site.backups() == [first.backup_id, log.parent_id]
    with site.restored() as connection:
        assert connection.ask("GET", "unseen") == b"1"


def test_the_log_goes_on_when_a_full_backup_fails(site: Site, monkeypatch: Any) -> None:
    first = site.take()
    site.primary.run(("SET", "before", 1))
    site.settle()
    whole = Repository.save_stream

    def torn(self: Repository, producer: Any, name: str, *more: Any) -> Any:
        if name == catalogue.BASE:
            raise CommandFailed("The disk is full.")
        return whole(self, producer, name, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "save_stream", torn)
        with pytest.raises(CommandFailed, match="disk is full"):
            site.take()
    assert site.backups() == [first.backup_id]
    site.primary.run(("SET", "after", 1))
    site.settle()
    log = site.take("log")
    assert log.parent_id == first.backup_id
    with site.restored() as connection:
        assert connection.many([("GET", "before"), ("GET", "after")]) == [b"1", b"1"]
    assert site.take().backup_id in site.backups()


def test_a_stream_that_ends_early_is_never_listed(site: Site, monkeypatch: Any) -> None:
    real = spool.producer

    def short(parts: Any, user: Any) -> Any:
        command = real(parts, user)
        path, size = command.argv[-2:]
        return type(command)((*command.argv[:-2], path, str(int(size) + 1)), title="reading")

    full = site.take()
    site.primary.run(("SET", "later", 1))
    site.settle()
    monkeypatch.setattr(spool, "producer", short)
    with pytest.raises(CommandFailed, match="ends 1 bytes early"):
        site.take("log")
    assert [one.backup_id for one in stored.entries(site.repo)] == [full.backup_id]


def test_a_base_that_is_damaged_is_never_stored(site: Site) -> None:
    programs = site.folder / "programs"
    programs.mkdir()
    flip = "import sys; d = bytearray(sys.stdin.buffer.read()); d[len(d) // 2] ^= 255"
    checker = programs / f"{site.options.flavor}-check-rdb"
    checker.write_text(
        f"#!/bin/sh\n{sys.executable} -c '{flip}; sys.stdout.buffer.write(d)' "
        f"| {site.options.tool('check-rdb')} /dev/stdin\n"
    )
    checker.chmod(0o755)
    for path in site.options.bin_dir.glob(f"{site.options.flavor}-*"):
        if path.name != checker.name:
            (programs / path.name).symlink_to(path)
    request = BackupRequest(kind="full", fingerprint=False)
    target = site.target(bin_dir=str(programs))
    with pytest.raises(VerificationFailed, match="base is damaged, check-rdb says"):
        backup.take_backup(target, request, lambda text: None)
    assert (site.backups(), site.repo.snapshots()) == ([], ())


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_a_full_backup_does_not_hold_up_the_log(site: Site, monkeypatch: Any, late: float) -> None:
    """Not when it is ``late`` to say that the new base goes on from the former log, either."""
    first = site.take()
    note = Spool.goes_on

    def noted(*about: Any) -> None:
        time.sleep(late)
        note(*about)

    monkeypatch.setattr(Spool, "goes_on", noted)
    whole, going, go_on = Repository.save_stream, threading.Event(), threading.Event()

    def slow(self: Repository, producer: Any, name: str, *more: Any) -> Any:
        if name == catalogue.BASE:
            going.set()
            assert go_on.wait(60)
        return whole(self, producer, name, *more)

    monkeypatch.setattr(Repository, "save_stream", slow)

    def take() -> None:
        with lock.hold(site.target(), "backup"):
            site.take()

    other = threading.Thread(target=take)
    other.start()
    try:
        assert going.wait(60)
        site.primary.run(("SET", "meanwhile", 1))
        site.settle()
        with lock.hold(site.target(), "log-backup"):
            log = site.take("log")
        assert log.parent_id == first.backup_id
        with site.restored() as connection:
            assert connection.ask("GET", "meanwhile") == b"1"
    finally:
        go_on.set()
        other.join()
    assert len(site.backups()) == 2
    with site.restored() as connection:
        assert connection.ask("GET", "text") == b"value"


def test_a_log_backup_that_runs_at_the_end_of_a_full_one_costs_no_log(
    site: Site, monkeypatch: Any
) -> None:
    first = site.take()
    site.primary.run(("SET", "before", 1))
    site.settle()
    whole, going, go_on = Repository.save_stream, threading.Event(), threading.Event()

    def slow(self: Repository, producer: Any, name: str, *more: Any) -> Any:
        if name == catalogue.LOG and not going.is_set():
            going.set()
            assert go_on.wait(60)
        return whole(self, producer, name, *more)

    monkeypatch.setattr(Repository, "save_stream", slow)

    def log() -> None:
        with lock.hold(site.target(), "log backup"):
            site.take("log")

    def full() -> None:
        with lock.hold(site.target(), "backup"):
            site.take()

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(log)
        assert going.wait(60)
        site.primary.run(("SET", "after", 1))
        site.settle()
        taken = pool.submit(full)
        markers = site.options.require_path("stage_dir").glob
        wait(lambda: any(markers("*/complete")), "the new base", 60)
        time.sleep(2)
        go_on.set()
        running.result(60)
        taken.result(60)
    found = stored.entries(site.repo)
    kept = routes.log_of(found, routes.choose(found, first.backup_id))
    assert kept is not None
    with site.restored(RestoreRequest(time=kept.manifest.stop)) as connection:
        assert connection.ask("GET", "before") == b"1"
        assert connection.ask("GET", "after") == b"1"


def test_while_the_first_full_backup_runs_the_log_says_so(site: Site) -> None:
    with lock.hold(site.target(), "backup"), pytest.raises(Busy):
        site.take("log")


def test_a_primary_that_is_gone_is_told_of_and_its_log_is_kept(
    site: Site, monkeypatch: Any
) -> None:
    site.take()
    site.primary.run(("SET", "last", 1))
    site.settle()
    site.primary.kill()
    monkeypatch.setattr(shipping, "_STANDSTILL_SECONDS", 0.0)
    wait(lambda: site.replica.info("replication")["master_link_status"] == "down", "it is noticed")
    time.sleep(1.1)
    with pytest.raises(Unreachable, match="nothing comes in"):
        site.take("log")
    with site.restored() as connection:
        assert connection.ask("GET", "last") == b"1"
    with pytest.raises(Unreachable, match="not in step"):
        site.take()


def test_data_that_vanished_are_told_of(site: Site) -> None:
    site.primary.run(*[("SET", f"key{n}", "x" * 1000) for n in range(200)])
    site.settle()
    site.take()
    status.update(site.target(), "prune", {"last_success": "2020-01-01T00:00:00+00:00"})
    site.primary.run(("FLUSHALL",))
    site.settle()
    with pytest.raises(VerificationFailed, match=r"is listed, but holds .* less than half"):
        site.take()
    assert len(site.backups()) == 2
    noted = status.read(site.target())
    assert noted["kinds"]["full"]["last_result"] == 0
    assert "less than half" in noted["kinds"]["full"]["message"]
    assert noted["catalogue"]["newest_backup"] == site.backups()[-1]
    assert noted["prune"]["last_success"] > "2020-01-02", "space that is due is given back"
    assert [path.name for path in (site.folder / "stage").iterdir()] == site.backups()[-1:]
    with pytest.raises(VerificationFailed, match="say that the data did shrink"):
        site.take(fingerprint=False)
    assert len(site.backups()) == 3, "nothing expires, and a suspect one is no measure"
    site.take(accepted=True)
    noted = status.read(site.target())
    assert (noted["kinds"]["full"]["last_result"], noted["catalogue"]["doubt"]) == (1, None)
    assert len(list((site.folder / "stage").iterdir())) == 1


def test_what_would_be_lost_is_told_from_the_newest_log_stored(site: Site) -> None:
    site.take()
    site.primary.run(("SET", "key", 1))
    site.settle()
    stored_log = site.take("log")
    told = {one.name: one.value for one in monitor.collect(site.target())}
    assert told["dbops_rpo_exposure_known"] == 1
    age = time.time() - stored_log.stop.timestamp()
    assert told["dbops_rpo_exposure_seconds"] == pytest.approx(age, abs=5)


def test_what_a_killed_run_left_is_cleared_away(site: Site) -> None:
    left = site.folder / "stage" / "load-killed"
    left.mkdir()
    place = Place(data=left, run=left, user=None, options=site.options)
    server = private_server.start(place, 30, append_only=False)
    assert server.alive()
    site.take(fingerprint=False)
    assert not server.alive()
    assert [path.name for path in (site.folder / "stage").iterdir()] == site.backups()


def test_a_fingerprint_outlives_a_full_backup_beside_it(site: Site) -> None:
    base = aof.read(site.replica.data).base
    with (
        fingerprint._laid_out(site.options, base) as place,
        private_server.start(place, 60) as server,
    ):
        site.take(fingerprint=False)
        assert server.alive()
    assert [path.name for path in (site.folder / "stage").iterdir()] == site.backups()


def test_incremental_backups_are_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="no incremental backups of 'store': take a full one"):
        site.take("incremental")


def test_the_fingerprint_of_the_cluster(site: Site) -> None:
    (found,) = fingerprint.fingerprint(site.target(), lambda text: None)
    assert {one.database for one in found.databases} == {"0", "3"}
    assert ":" in found.point


def test_two_fingerprints_never_share_a_snapshot(site: Site) -> None:
    refused: list[str] = []

    def meanwhile(text: str) -> None:
        if text.startswith("loading") and not refused:
            with pytest.raises(Busy, match="Another fingerprint of"):
                fingerprint.fingerprint(site.target(), lambda text: None)
            refused.append(text)

    (found,) = fingerprint.fingerprint(site.target(), meanwhile)
    assert refused
    assert found.databases


def test_a_replica_that_is_not_as_declared_gives_no_backup_that_counts(site: Site) -> None:
    target = site.target(replica_settings={"appendfsync": "everysec"})

    def take(kind: Literal["full", "log"]) -> None:
        backup.take_backup(target, BackupRequest(kind=kind), lambda text: None)

    take("full")
    before = site.backups()
    site.replica.run(("CONFIG", "SET", "appendfsync", "no"))
    site.primary.run(("SET", "later", 1))
    site.settle()
    with pytest.raises(VerificationFailed, match="appendfsync is 'no' and not 'everysec'"):
        take("full")
    assert site.backups() == before
    with pytest.raises(VerificationFailed, match="may have been taken over"):
        take("log")  # what came in is stored all the same
    with site.restored() as connection:
        assert connection.ask("GET", "later") == b"1"
    site.replica.run(("CONFIG", "SET", "appendfsync", "everysec"))
    take("full")
    assert len(site.backups()) == 2
