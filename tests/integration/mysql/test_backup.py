"""Backups as the repository host takes them: over TLS, into restic, the binary log followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbops import runner
from dbops.contract import BackupRequest, RestoreRequest
from dbops.engines.mysql import ENGINE, backup, client
from dbops.errors import CommandFailed, ConfigError, DbopsError, Unreachable, VerificationFailed
from dbops.manifest import Kind, Manifest, compare
from dbops.targets import Objectives, Target
from tests.integration.mysql.machine import Member
from tests.integration.mysql.store import stream_command

pytestmark = pytest.mark.integration
PORT = 33961


class Site:
    """A member, and a repository beside it that reaches it by TCP alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tls = folder / "tls"
        self._certificates()
        more = "\n".join(
            (
                f"ssl-ca = {self.tls}/ca.crt",
                f"ssl-cert = {self.tls}/server.crt",
                f"ssl-key = {self.tls}/server.key",
                "plugin-load-add = auth_ed25519",
            )
        )
        self.member = Member(folder / "m1", port=PORT, more=more).install().start()
        self.member.run(
            "CREATE USER b@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret') REQUIRE SSL",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, BINLOG MONITOR, SLAVE MONITOR, "
            "RELOAD ON *.* TO b@'127.0.0.1'",
            "CREATE USER l@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret') REQUIRE SSL",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO l@'127.0.0.1'",
            "CREATE DATABASE dbops",
            "CREATE TABLE dbops.heartbeat (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, member "
            "VARCHAR(63) NOT NULL, beat_at TIMESTAMP(6) NOT NULL DEFAULT current_timestamp(6), "
            "sequence BIGINT UNSIGNED NOT NULL)",
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(60))",
            "INSERT INTO d.t SELECT seq, SHA1(seq) FROM d.seq_1_to_5000",
        )
        for name in ("b", "l"):
            self._secret(f"{name}.cnf", f'[client]\nuser={name}\npassword="secret"\n')
        self._secret("repo.key", "passphrase\n")
        (folder / "targets").mkdir()
        self.binlog = folder / "binlog"
        self.beat()
        backup_repository(self).init()

    def _secret(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def _certificates(self) -> None:
        self.tls.mkdir()
        (self.tls / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:m1\n")
        for line in (
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 2",
            "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=m1",
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt "
            "-days 2 -extfile ext",
        ):
            subprocess.run(
                ["openssl", *line.split()], cwd=self.tls, check=True, capture_output=True
            )
        subprocess.run(["chmod", "-R", "a+rX", str(self.tls)], check=True)

    def target(self, part: str, **more: Any) -> Target:
        options = {
            "hosts": {"m1": "127.0.0.1"},
            "port": PORT,
            "ca_file": str(self.tls / "ca.crt"),
            "socket": str(self.member.socket),
            "repo_path": str(self.folder / "repo"),
            "repo_user": "root",
            "repo_password_file": str(self.folder / "repo.key"),
            "binlog_dir": str(self.binlog),
            "backup_file": str(self.folder / "b.cnf"),
            "binlog_file": str(self.folder / "l.cnf"),
            **more,
        }
        found = Target(
            schema_version=1,
            engine="mysql",
            cluster="c",
            part=part,  # type: ignore[arg-type]
            member="m1",
            version="10.11",
            members=("m1",),
            objectives=Objectives(rpo_seconds=60, rto_seconds=600),
            state_dir=self.folder / f"state-{part}",
            options=options,
        )
        if part == "repository":
            path = self.folder / "targets" / "c.json"
            path.write_text(found.model_dump_json())
            path.chmod(0o640)
        return found

    @property
    def repository(self) -> Target:
        return self.target("repository")

    @property
    def restored(self) -> Target:
        return self.target(
            "member",
            data_dir=str(self.member.data),
            config_file=str(self.member.config),
            repo_user="root",
        )

    def beat(self) -> None:
        self.member.run("REPLACE INTO dbops.heartbeat VALUES (1, 'm1', UTC_TIMESTAMP(6), 1)")

    def take(self, kind: Kind = "full") -> Manifest:
        assert ENGINE.take_backup is not None
        return ENGINE.take_backup(self.repository, BackupRequest(kind), lambda text: None)

    @contextmanager
    def following(self) -> Iterator[subprocess.Popen[str]]:
        """Follow the member's binary log while the block runs, as the unit does."""
        self.target("repository")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dbops.engines.mysql.puller",
                "--cluster",
                "c",
                "--member",
                "m1",
                "--targets",
                str(self.folder / "targets"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def restore(self, **point: Any) -> None:
        """Stop the member, restore it in place and start it again."""
        assert ENGINE.plan_restore is not None
        self.member.stop()
        try:
            runner.run(
                ENGINE.plan_restore(self.restored, RestoreRequest(**point)),
                on_line=lambda line: None,
            )
        finally:
            self.member.start()


def backup_repository(site: Site) -> Any:
    from dbops import repository
    from dbops.engines.mysql import options

    target = site.repository
    return repository.open_repository(target, options.read(target))


@pytest.fixture
def site(programs: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    if shutil.which("restic") is None or os.geteuid() != 0:
        pytest.skip("restic is not installed, or this is not root")
    found = Site(folder)
    monkeypatch.setattr(
        backup, "command", lambda opts, member, asked: stream_command(found.member, asked)
    )
    yield found
    found.member.stop()


def fingerprint(site: Site) -> Any:
    assert ENGINE.fingerprint is not None
    return ENGINE.fingerprint(site.repository, lambda text: None)[0]


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
        argv = (script, "-c", '"$@" | head -c 3000000; exit 1', "sh", *command.argv)
        return runner.Command(argv, user=command.user)

    with site.following():
        monkeypatch.setattr(backup, "command", torn)
        with pytest.raises((CommandFailed, VerificationFailed)):
            site.take()
    assert ENGINE.catalogue is not None
    assert ENGINE.catalogue(site.repository).backups == ()


def test_an_increment_over_a_restored_member_is_refused(site: Site) -> None:
    with site.following():
        site.take()
        time.sleep(1)
        site.take("log")
    site.restore()
    with site.following(), pytest.raises(ConfigError, match="made anew since backup"):
        site.take("incremental")


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
    strange = site.target("repository", ca_file=str(site.tls / "server.crt"))
    with pytest.raises(DbopsError):
        ENGINE.fingerprint(strange, lambda text: None)


def test_a_password_never_shows(site: Site) -> None:
    client.credentials(site.folder / "b.cnf")
    assert "secret" not in runner.mask("the password is secret")
