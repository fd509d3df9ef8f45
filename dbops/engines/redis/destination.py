"""Where a restore goes to: which full backup it starts from and how much of the log follows.

Reads the repository, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dbops.contract import RestoreRequest
from dbops.engines.redis import position, rdb
from dbops.engines.redis.options import Options
from dbops.errors import ConfigError
from dbops.repository import catalogue, routes
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry


@dataclass(frozen=True)
class Destination:
    """A full backup, the log that goes on from it if any, and the second to cut that log after."""

    full: Entry
    log: Entry | None
    until: datetime | None
    words: str

    @property
    def backup_id(self) -> str:
        """The id of the full backup."""
        return self.full.backup_id

    @property
    def room(self) -> int:
        """The bytes of all files."""
        return self.full.manifest.bytes_read + (self.log.manifest.bytes_read if self.log else 0)

    @property
    def newest(self) -> datetime:
        """The time of the last known write that comes back at the latest."""
        end = max(self.full.manifest.stop, self.log.manifest.stop if self.log else _EPOCH)
        return min(end, self.until) if self.until else end


_EPOCH = datetime.fromtimestamp(0, UTC)


def choose(opts: Options, repo: Repository, request: RestoreRequest) -> Destination:
    """Return the way to the requested point.

    An id alone means exactly that backup, as it was when it was taken. Raises ConfigError for what
    does not exist or what the server here cannot read, Refused for a time out of reach.
    """
    if request.point is not None or request.name is not None:
        raise ConfigError(
            "Redis has no named restore points and no positions to restore to: give a time."
        )
    if request.time is not None and request.time.tzinfo is None:
        raise ConfigError("The time to restore to needs a time zone, such as Z for UTC.")
    way = _way(catalogue.entries(repo), request)
    point = position.base(way.full.manifest)
    rdb.refuse_unreadable(opts, way.full.backup_id, point.format, way.full.manifest.version)
    return way


def _way(found: tuple[Entry, ...], request: RestoreRequest) -> Destination:
    if request.backup_id is not None and request.time is None:
        full = routes.choose(found, request.backup_id)
        words = f"the moment of backup {full.backup_id}, {_utc(full.manifest.stop)}"
        return Destination(full, None, None, words)
    route = routes.route(found, request.backup_id, request.time)
    words = "the newest moment" if request.time is None else _utc(request.time)
    return Destination(route.chain[-1], route.log, request.time, words)


def whole(found: tuple[Entry, ...], backup_id: str | None) -> Destination:
    """Return a backup with all the log that goes on from it, the newest one for None."""
    full = routes.choose(found, backup_id)
    return Destination(full, routes.log_of(found, full), None, "the end of its log")


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
