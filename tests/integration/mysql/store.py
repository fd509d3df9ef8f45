"""Streams of real backups kept as plain files, for tests of what is made of them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from dbops.contract import Progress
from dbops.engines.mysql import archive, chain, flavor, gtid
from dbops.engines.mysql.chain import File
from dbops.engines.mysql.destination import Destination
from dbops.engines.mysql.gtid import Position
from dbops.manifest import Kind, Manifest
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.runner import Command, Completed, check_pipe
from tests.integration.mysql.machine import Member


def stream_command(member: Member, asked: str) -> Command:
    """Return the forced command of the stream account on a member, as SSH would carry it."""
    return Command(
        (
            sys.executable,
            "-m",
            "dbops.engines.mysql.stream",
            "--config",
            str(member.config),
            "--user",
            pwd.getpwuid(os.geteuid()).pw_name,
        ),
        env={"SSH_ORIGINAL_COMMAND": asked},
    )


@dataclass
class Store:
    """A folder of streams, with what the catalogue would know of each."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)

    @property
    def repo(self) -> Repository:
        """Itself, in the place of a repository."""
        return cast(Repository, self)

    def dump(self, snapshot_id: str, name: str, consumer: Command, progress: Progress) -> Completed:
        """Feed a kept stream to ``consumer``."""
        return check_pipe(Command(("cat", str(self.folder / snapshot_id))), consumer, progress)[1]

    def take(self, member: Member, kind: Kind = "full") -> Entry:
        """Let a member stream, and keep it."""
        parent = self.entries[-1] if kind == "incremental" else None
        asked = "full"
        if parent is not None:
            asked = f"incremental {parent.manifest.start_point.split('@')[0]}"
        name = f"{len(self.entries)}.{kind}"
        lines: list[str] = []
        sink = Command(("dd", f"of={self.folder / name}", "bs=1M", "status=none"))
        check_pipe(stream_command(member, asked), sink, lines.append)
        said = flavor.MARIADB.backup_log(lines)
        entry = Entry(
            manifest=self._manifest(name, kind, parent, said),
            snapshots={flavor.MARIADB.streams[kind].removesuffix(".zst"): name},
        )
        self.entries.append(entry)
        return entry

    @staticmethod
    def _manifest(name: str, kind: Kind, parent: Entry | None, said: flavor.Said) -> Manifest:
        now = datetime.now(UTC)
        return Manifest(
            engine="mysql",
            version="10.11",
            cluster="c",
            member="m",
            backup_id=name,
            kind=kind,
            parent_id=parent.backup_id if parent else None,
            start=now,
            stop=now,
            start_point=f"{said.checkpoint}@0",
            stop_point=said.position,
            bytes_read=1,
            bytes_stored=1,
            encrypted=True,
            tool="cat",
            tool_version="1",
            dbops_version="0",
        )

    def way(self, files: Sequence[File], until: Position | None = None) -> Destination:
        """Return the way over all streams kept, and ``files`` after them."""
        start = gtid.parse(self.entries[-1].manifest.stop_point)
        files = chain.toward(files, until) if until is not None else files
        return Destination(
            entries=tuple(self.entries),
            log=None,
            own=(),
            moment=None,
            until=until,
            chain=chain.follow(files, start, until),
            highest=start,
            words="the newest moment",
        )


def archived(member: Member, folder: Path, session: str = "1") -> list[File]:
    """Copy a member's binary log to where its archive would be, and read it."""
    place = folder / "m" / session
    place.mkdir(parents=True)
    for path in member.data.glob("binlog.[0-9]*"):
        shutil.copyfile(path, place / path.name)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return archive.survey(folder)
