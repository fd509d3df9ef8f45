"""Backups as the repository host takes them: over TLS, into restic, the binary log followed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbops import runner, status
from dbops.contract import RestoreRequest
from dbops.engines.mysql import ENGINE, backup, client
from dbops.errors import CommandFailed, ConfigError, DbopsError, Unreachable, VerificationFailed
from dbops.manifest import compare
from dbops.repository import catalogue, restic_memory
from dbops.repository.restic import Repository
from tests.integration.mysql.machine import certificates
from tests.integration.mysql.site import PASSWORD, Site, backup_repository, fingerprint
from tests.integration.mysql.store import stream_command
from tests.integration.test_repository import flip_pack_of

pytestmark = pytest.mark.integration


def test_the_whole_way_and_back(site: Site) -> None:
    with site.following():
        full = site.take()
        site.member.run("INSERT INTO d.t (a) VALUES ('after the full one')")
        increment = site.take("incremental")
        site.member.run("INSERT INTO d.t (a) VALUES ('after the increment')", "FLUSH BINARY LOGS")
        site.beat()
        expected = fingerprint(site)
        time.sleep(1)
        site.take("log")
    assert full.fingerprints
    assert full.fingerprints[0].rows == 5001
    assert increment.parent_id == full.backup_id
    site.restore()
    assert compare(expected, fingerprint(site)) == []
    note = json.loads((site.restored.state_dir / "restore.json").read_text())
    assert note["verified_at"]
    assert note["position"] == expected.point


def test_the_stream_is_compressed_before_it_is_stored(site: Site) -> None:
    with site.following():
        full = site.take()
    repo = backup_repository(site)
    (entry,) = [one for one in catalogue.entries(repo) if one.manifest.kind == "full"]
    packed, plain = site.folder / "packed", site.folder / "plain"
    repo.dump(entry.snapshots["base.mbstream.zst"], "base.mbstream.zst", _into(packed))
    subprocess.run(["zstd", "--decompress", "--quiet", str(packed), "-o", str(plain)], check=True)
    assert full.bytes_read == plain.stat().st_size > 2 * packed.stat().st_size


def test_a_backup_is_at_the_place_in_the_log_where_its_gtid_lags(site: Site) -> None:
    with site.following():
        # On a replica gtid_current_pos lacks a transaction for a moment after its commit, as it
        # does here for good: what another server began counts when replication has noted it.
        site.member.run("SET SESSION server_id = 77", "INSERT INTO d.t (a) VALUES ('followed')")
        assert site.member.value("SELECT @@GLOBAL.gtid_current_pos") != site.member.position()
        full = site.take()
        assert full.stop_point == site.member.position()
        site.member.run("INSERT INTO d.t (a) VALUES ('after the full one')")
        expected = fingerprint(site)
        time.sleep(1)
        site.take("log")
    site.restore()
    assert compare(expected, fingerprint(site)) == []


def _into(path: Path) -> runner.Command:
    return runner.Command(("dd", f"of={path}", "bs=1M", "status=none"))


def test_a_full_backup_begins_a_new_catalogue_when_the_old_one_is_damaged(site: Site) -> None:
    with site.following():
        site.take()
        repo = backup_repository(site)
        damage(repo)
        site.take("log")  # what it remembers makes the catalogue whole again
        assert len(catalogue.entries(replace(repo))) == 2
        (site.repository.state_dir / restic_memory.NAME).unlink()
        damage(repo)
        with pytest.raises(VerificationFailed, match="take a full backup to begin a new one"):
            site.take("log")
        site.member.run("FLUSH BINARY LOGS", "INSERT INTO d.t (a) VALUES ('in the next file')")
        full = site.take()
    # The backups that only the damaged catalogue knew begin in the first file.
    assert len(list(site.binlog.glob("m1/*/binlog.00*"))) > 1
    assert full.backup_id in [entry.backup_id for entry in catalogue.entries(replace(repo))]


def damage(repo: Repository) -> None:
    """Damage the newest catalogue."""
    newest = catalogue._generations(repo.listing())[0]
    flip_pack_of(repo, newest.snapshot_id, catalogue.FILE)


def test_a_time_before_a_mistake_is_restored(site: Site) -> None:
    with site.following():
        site.take()
        site.member.run("INSERT INTO d.t (a) VALUES ('kept')")
        expected = fingerprint(site)
        time.sleep(1.1)
        moment = datetime.now(UTC)
        time.sleep(1.1)
        site.member.run("DROP TABLE d.t")
        site.beat()
        time.sleep(1)
        site.take("log")
    site.restore(time=moment)
    assert compare(expected, fingerprint(site)) == []
    with pytest.raises(ConfigError, match="outside the recovery window"):
        site.restore(time=datetime.now(UTC) + timedelta(hours=1))


def test_restores_in_a_row_each_reach_their_moment(site: Site) -> None:
    """Twice too late, with the full backup that the play takes after each; then the right one."""
    known = []
    with site.following():
        first = site.take()
        for _ in range(3):
            site.member.run("DELETE FROM d.t ORDER BY id LIMIT 1")
            content = fingerprint(site)
            time.sleep(1.1)
            known.append((datetime.now(UTC), content))
            time.sleep(1.1)
        site.beat()
        time.sleep(1)
        site.take("log")
    for number in (2, 1, 0):
        moment, content = known[number]
        site.restore(time=moment)
        assert compare(content, fingerprint(site)) == []
        if number:
            with site.following():
                site.take(automatic=True)
    held = catalogue.catalogue(backup_repository(site)).backups
    fulls = [one.backup_id for one in held if one.kind == "full"]
    assert (fulls[0], len(fulls)) == (first.backup_id, 3)


def test_a_suspiciously_small_backup_is_listed_and_its_attempt_fails(site: Site) -> None:
    site.member.run(
        "SET SESSION sql_log_bin = 0",
        "CREATE TABLE d.big (a LONGBLOB)",
        "INSERT INTO d.big SELECT REPEAT('x', 1048576) FROM d.seq_1_to_150",
    )
    with site.following():
        first = site.take()
        site.member.run("SET SESSION sql_log_bin = 0", "DROP TABLE d.big")
        with pytest.raises(VerificationFailed, match=r"is listed, but holds .* less than half"):
            site.take()
        held = catalogue.catalogue(backup_repository(site)).backups
        fulls = [one for one in held if one.kind == "full"]
        assert fulls[0].backup_id == first.backup_id
        assert len(fulls) == 2
        assert fulls[1].manifest is not None
        assert fulls[1].manifest.fingerprints
        noted = status.read(site.repository)
        assert noted["kinds"]["full"]["last_result"] == 0
        assert "less than half" in noted["kinds"]["full"]["message"]
        assert noted["catalogue"]["newest_backup"] == fulls[1].backup_id


def test_log_that_only_the_stopped_member_has_is_replayed(site: Site) -> None:
    with site.following():
        site.take()
    site.member.run("INSERT INTO d.t (a) VALUES ('never fetched')")
    expected = fingerprint(site)
    site.restore()
    assert compare(expected, fingerprint(site)) == []


def test_a_missing_file_is_refused_before_anything_is_stopped(site: Site) -> None:
    with site.following():
        site.take()
        for number in range(3):
            site.member.run("FLUSH BINARY LOGS", f"CREATE TABLE d.n{number} (a INT)")
        time.sleep(1)
    (gone,) = site.binlog.glob("m1/*/binlog.000003")
    gone.unlink()
    with pytest.raises(VerificationFailed, match=r"m1/binlog\.000003 is gone"):
        site.take("log")
    assert ENGINE.plan_restore is not None
    for path in site.member.data.glob("binlog.*"):
        if path.name == "binlog.000003":
            path.unlink()
    request = RestoreRequest(rehearsal=True)
    with pytest.raises(VerificationFailed, match=r"m1/binlog\.000003 is gone"):
        ENGINE.plan_restore(site.restored, request)
    assert site.member.value("SELECT 1") == 1


def test_a_torn_stream_is_never_listed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stream_command

    def torn(opts: object, member: str, asked: str) -> runner.Command:
        command = whole(site.member, asked)
        script = shutil.which("sh") or "sh"
        argv = (script, "-c", '"$@" | head -c 300000; exit 1', "sh", *command.argv)
        return runner.Command(argv, env=command.env)

    with site.following():
        monkeypatch.setattr(backup, "command", torn)
        with pytest.raises((CommandFailed, VerificationFailed)):
            site.take()
    assert ENGINE.catalogue is not None
    assert ENGINE.catalogue(site.repository).backups == ()


def test_an_increment_over_a_restored_member_becomes_a_full_backup(site: Site) -> None:
    """Its pages have other positions in the redo log, and an increment would leave some out."""
    with site.following():
        first = site.take()
        time.sleep(1)
        site.take("log")
    site.restore()
    with site.following():
        second = site.take("incremental")
    assert (second.kind, second.parent_id) == ("full", None)
    assert second.backup_id != first.backup_id


def test_a_follower_that_is_started_again_loses_nothing(site: Site) -> None:
    with site.following():
        site.take()
    for number in range(3):
        site.member.run(f"CREATE TABLE d.n{number} (a INT)", "FLUSH BINARY LOGS")
    with site.following() as process:
        process.kill()
    with site.following():
        time.sleep(2)
        manifest = site.take("log")
    assert manifest.stop_point == site.member.position()


def test_a_follower_of_a_member_that_is_down_ends_and_says_why(site: Site) -> None:
    site.member.stop()
    try:
        with site.following() as process:
            assert process.wait(30) == 1
            assert process.stderr is not None
            assert "does not answer as 'l'" in process.stderr.read()
    finally:
        site.member.start()


def test_a_certificate_of_another_name_or_authority_is_refused(site: Site) -> None:
    other = site.target("repository", hosts={"m1": "127.0.0.2"})
    assert ENGINE.fingerprint is not None
    with pytest.raises(Unreachable):
        ENGINE.fingerprint(other, lambda text: None)
    certificates(site.folder / "other")
    strange = site.target("repository", ca_file=str(site.folder / "other" / "ca.crt"))
    with pytest.raises(DbopsError):
        ENGINE.fingerprint(strange, lambda text: None)


def test_a_password_never_shows(site: Site) -> None:
    client.credentials(site.folder / "b.cnf")
    assert PASSWORD not in runner.mask(f"the password is {PASSWORD}")


def test_after_a_restore_the_newest_is_that_of_the_new_history(site: Site) -> None:
    with site.following():
        full = site.take()
        site.member.run("INSERT INTO d.t (a) VALUES ('kept')")
        time.sleep(1.1)
        moment = datetime.now(UTC)
        time.sleep(1.1)
        site.member.run("INSERT INTO d.t (a) VALUES ('given up')")
        given_up = fingerprint(site)
        younger = site.take("incremental")
    site.restore(time=moment)
    with site.following():
        site.member.run("INSERT INTO d.t (a) VALUES ('new')")
        expected = fingerprint(site)
        time.sleep(1.5)
        site.take("log")
    site.restore()
    note = json.loads((site.restored.state_dir / "restore.json").read_text())
    assert note["backup_id"] == full.backup_id
    assert compare(expected, fingerprint(site)) == []
    site.restore(point=younger.stop_point)
    assert compare(given_up, fingerprint(site)) == []
