"""A member and its repository host on this machine: TLS between them, restic, the log followed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbops import runner
from dbops.contract import BackupRequest, RestoreRequest
from dbops.engines.mysql import ENGINE, options
from dbops.manifest import Fingerprint, Kind, Manifest
from dbops.repository import catalogue
from dbops.targets import Objectives, Target
from tests.integration import ports
from tests.integration.mysql.machine import Member, certificates

PASSWORD = "s%cr:t $;# éü€"  # what no quoting hides, and more than Latin-1
_IDENTIFIED = f"IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}') REQUIRE SSL"


class Site:
    """A member, and a repository beside it that reaches it by TCP alone."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.port = ports.free()
        self.tls = folder / "tls"
        certificates(self.tls)
        more = "\n".join(
            (
                f"ssl-ca = {self.tls}/ca.crt",
                f"ssl-cert = {self.tls}/server.crt",
                f"ssl-key = {self.tls}/server.key",
                "plugin-load-add = auth_ed25519",
                settings,
            )
        )
        self.member = Member(folder / "m1", port=self.port, more=more).install().start()
        self.member.run(
            f"CREATE USER b@'127.0.0.1' {_IDENTIFIED}",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, BINLOG MONITOR, SLAVE MONITOR, "
            "RELOAD ON *.* TO b@'127.0.0.1'",
            f"CREATE USER l@'127.0.0.1' {_IDENTIFIED}",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO l@'127.0.0.1'",
            "CREATE DATABASE dbops",
            "CREATE TABLE dbops.heartbeat (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, member "
            "VARCHAR(255) NOT NULL, beat_at TIMESTAMP(6) NOT NULL DEFAULT current_timestamp(6), "
            "sequence BIGINT UNSIGNED NOT NULL)",
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(60))",
            "INSERT INTO d.t SELECT seq, SHA1(seq) FROM d.seq_1_to_5000",
        )
        for name in ("b", "l"):
            self._secret(f"{name}.cnf", f'[client]\nuser={name}\npassword="{PASSWORD}"\n')
        self._secret("repo.key", "passphrase\n")
        (folder / "targets").mkdir()
        self.binlog = folder / "binlog"
        self.beat()
        backup_repository(self).init()

    def _secret(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def target(self, part: str, **more: Any) -> Target:
        options = {
            "hosts": {"m1": "127.0.0.1"},
            "port": self.port,
            "ca_file": str(self.tls / "ca.crt"),
            "socket": str(self.member.socket),
            "repo_path": str(self.folder / "repo"),
            "repo_user": "root",
            "repo_password_file": str(self.folder / "repo.key"),
            "binlog_dir": str(self.binlog),
            "backup_file": str(self.folder / "b.cnf"),
            "binlog_file": str(self.folder / "l.cnf"),
            "keep_full": 2,
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
        self.member.run(
            "SET SESSION time_zone = '+00:00'",
            "REPLACE INTO dbops.heartbeat VALUES (1, 'm1', UTC_TIMESTAMP(6), 1)",
        )

    def take(self, kind: Kind = "full", automatic: bool = False) -> Manifest:
        assert ENGINE.take_backup is not None
        request = BackupRequest(kind, automatic=automatic)
        return ENGINE.take_backup(self.repository, request, lambda text: None)

    @contextmanager
    def following(self) -> Iterator[subprocess.Popen[str]]:
        """Follow the member's binary log while the block runs, as the unit does.

        The block begins when something has come, as no backup is whole without, or the follower
        has ended.
        """
        self.target("repository")
        before = self._fetched()
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
            deadline = time.monotonic() + 60
            while process.poll() is None and self._fetched() <= before:
                assert time.monotonic() < deadline, "the follower fetches nothing"
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def _fetched(self) -> set[Path]:
        files = (path for path in self.binlog.glob("*/*/*") if path.is_file())
        return {path for path in files if path.stat().st_size > 4}

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
    """Open the repository as its host does."""
    target = site.repository
    return catalogue.open_repository(target, options.read(target))


def fingerprint(site: Site) -> Fingerprint:
    """Take the member's fingerprint from the repository host."""
    assert ENGINE.fingerprint is not None
    return ENGINE.fingerprint(site.repository, lambda text: None)[0]
