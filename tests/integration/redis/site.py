"""A primary, its hidden replica and a repository on this machine, as the kit would run them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbops.contract import BackupRequest, RestoreRequest
from dbops.engines.redis import backup, catalogue, destination, members, private_server, refill
from dbops.engines.redis import options as settings
from dbops.engines.redis.options import Options
from dbops.engines.redis.private_server import Place
from dbops.manifest import Kind, Manifest
from dbops.repository import catalogue as stored
from dbops.repository.restic import Repository
from dbops.runner import capture
from dbops.targets import Target
from tests.integration.redis.server import Server


class Site:
    """One small cluster in ``folder``: the primary takes writes, the replica makes backups."""

    def __init__(self, folder: Path, bin_dir: Path, flavor: str, launch: Any) -> None:
        self.folder = folder
        self.primary: Server = launch(port=True)
        self.replica: Server = launch()
        self.replica.follow(self.primary)
        password = folder / "repository.key"
        password.write_text("a-passphrase-for-tests-of-this-kit\n")
        password.chmod(0o600)
        for name in ("stage", "state", "repository"):
            (folder / name).mkdir(mode=0o750)
        self._options = {
            "flavor": flavor,
            "bin_dir": str(bin_dir),
            "os_user": "root",
            "hosts": {"db1": "127.0.0.1"},
            "port": self.primary.port,
            "replica_dir": str(self.replica.data),
            "replica_socket": str(self.replica.socket),
            "replica_wait_seconds": 10,
            "stage_dir": str(folder / "stage"),
            "repo_path": str(folder / "repository" / "restic"),
            "repo_user": "root",
            "repo_password_file": str(password),
            "keep_full": 2,
        }
        self.repo.init()

    def target(self, part: str = "repository", **options: Any) -> Target:
        """Return the target of one host."""
        return Target.model_validate(
            {
                "schema_version": 1,
                "engine": "redis",
                "cluster": "store",
                "part": part,
                "member": {"repository": "backup1", "drill": "drill1"}.get(part, "db1"),
                "version": "7.0",
                "members": ("db1",),
                "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
                "state_dir": self.folder / "state",
                "options": self._options | options,
            }
        )

    @property
    def options(self) -> Options:
        """The options of the repository host."""
        return settings.read(self.target())

    @property
    def repo(self) -> Repository:
        """The repository, to write."""
        return catalogue.open_(self.target(), self.options)

    def take(
        self, kind: Kind = "full", fingerprint: bool = True, accepted: bool = False
    ) -> Manifest:
        """Take a backup."""
        request = BackupRequest(kind=kind, fingerprint=fingerprint, accepted=accepted)
        return backup.take_backup(self.target(), request, lambda text: None)

    def settle(self) -> None:
        """Wait until the replica has all that the primary has, in its file."""
        with self.primary.connect() as connection:
            assert connection.ask("WAIT", 1, 10_000) == 1
        self.replica.settle()

    def backups(self) -> list[str]:
        """Return the ids in the catalogue."""
        found = stored.catalogue(self.repo).backups
        return [one.backup_id for one in found if one.kind != "log"]

    @contextmanager
    def restored(self, request: RestoreRequest | None = None) -> Iterator[Any]:
        """Restore into a folder of its own and yield a connection to a server on it."""
        way = destination.choose(self.options, self.repo, request or RestoreRequest())
        data = self.folder / f"restored-{time.monotonic_ns()}"
        data.mkdir()
        refill.fetch(self.repo, way, data, None, lambda text: None)
        refill.same_base(data, way.full)
        if way.until is not None and way.log is not None:
            refill.cut(self.options, data, way.until, capture)
        refill.check(self.options, data, capture)
        place = Place(data=data, run=data, user=None, options=self.options)
        with private_server.start(place, 60) as server, server.connect() as connection:
            yield connection


def follow_primary_of(site: Site, monkeypatch: Any) -> None:
    """Let the kit know the primary without Sentinels and TLS, which have tests of their own."""
    monkeypatch.setattr(
        members, "primary", lambda opts, user, file: ("127.0.0.1", site.primary.port)
    )


class Writer:
    """Writes a counter, and remembers when each number was acknowledged."""

    def __init__(self, server: Server, pause: float = 0.02) -> None:
        self.server, self.pause = server, pause
        self.moments: list[datetime] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with self.server.connect() as connection:
            while not self._over.is_set():
                number = len(self.moments)
                connection.ask("SET", "counter", number)
                connection.ask("RPUSH", "numbers", number)
                self.moments.append(datetime.now(UTC))
                time.sleep(self.pause)
