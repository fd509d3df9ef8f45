"""Where a restore goes to: which backups, which binary log after them, and up to which point.

Reads the repository, changes nothing. What is *not* here: fetching and carrying out
(:mod:`.refill`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from dbops.contract import RestoreRequest
from dbops.engines.mysql import archive, binlog, chain, gtid, index
from dbops.engines.mysql.backup import LOG
from dbops.engines.mysql.chain import Chain, File
from dbops.engines.mysql.gtid import Position
from dbops.errors import ConfigError, VerificationFailed
from dbops.manifest import Manifest
from dbops.repository import catalogue, routes
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry


@dataclass(frozen=True)
class Destination:
    """The backups to put back, the log to replay after them, and where to stop.

    ``until`` None is the end of the log. ``own`` are the files that this host itself still has,
    ``highest`` the furthest position that is known of any history.
    """

    entries: tuple[Entry, ...]
    log: Entry | None
    own: tuple[File, ...]
    moment: datetime | None
    until: Position | None
    chain: Chain
    highest: Position
    words: str

    @property
    def manifest(self) -> Manifest:
        """The manifest of the backup itself, the last of its chain."""
        return self.entries[-1].manifest

    @property
    def start(self) -> Position:
        """Where the log goes on from."""
        return gtid.parse(self.manifest.stop_point)

    @property
    def bytes(self) -> int:
        """About how many bytes the backups hold."""
        return sum(entry.manifest.bytes_read for entry in self.entries)

    @property
    def log_bytes(self) -> int:
        """About how many bytes the log takes: fetched, and written once more by the replay."""
        return 2 * sum(f.summary.size for s in self.chain.segments for f in s.files)


@dataclass
class Work:
    """What the steps hand on to each other: the way, exact once the log has been fetched."""

    repo: Repository
    way: Destination
    folder: Path
    done: list[str] = field(default_factory=list)

    @property
    def backup_id(self) -> str:
        """The backup that is put back, the last of its chain."""
        return self.way.manifest.backup_id

    @property
    def room(self) -> int:
        """About how many bytes the backups and the log take."""
        return self.way.bytes + self.way.log_bytes

    @property
    def log(self) -> Path:
        """Where the binary log is brought."""
        return self.folder / "log"


def choose(
    repo: Repository, request: RestoreRequest, own: Sequence[File] = (), live: bool = False
) -> Destination:
    """Return the way to the requested point, ``own`` being the log that this host itself has.

    Raises ConfigError for a point that does not exist (the window is named), VerificationFailed
    when a file of the binary log on the way is missing.
    """
    found = catalogue.entries(repo)
    backups = routes.without_logs(found)
    wanted = routes.choose(found, request.backup_id)
    request = _named(request, backups)
    _one_point(request)
    candidates = [wanted] if request.backup_id is not None else backups
    log = next((entry for entry in reversed(found) if entry.manifest.kind == "log"), None)
    listed = _listed(repo, log)
    own = chain.completed(own, listed)
    files = [*listed, *own]
    point = gtid.parse(request.point) if request.point is not None else None
    fitting = candidates
    if request.time is not None:
        fitting = _for_time(candidates, files, request.time, live)
        files = chain.before_time(files, request.time)
    elif point is not None:
        point = chain.whole(files, point)
        fitting = _for_point(candidates, files, point)
        files = chain.toward(files, point)
    backup = _leading(fitting, files, point)
    start = gtid.parse(backup.manifest.stop_point)
    until = start.joined(point) if point is not None else None
    return Destination(
        entries=routes.chain(found, backup),
        log=log,
        own=tuple(own),
        moment=request.time,
        until=until,
        chain=_follow(files, start, until, backup, request),
        highest=_highest(found, [*listed, *own]),
        words=_words(request),
    )


def _leading(
    candidates: Sequence[Entry], files: Sequence[File], point: Position | None = None
) -> Entry:
    """Return the newest backup whose log leads to ``point``, or to the newest branch for None.

    After a restore to an earlier moment, or where two members wrote after a failover, younger
    backups may belong to a branch that was given up.
    """
    for backup in reversed(candidates):
        start = gtid.parse(backup.manifest.stop_point)
        try:
            if point is not None:
                chain.follow(files, start, start.joined(point))
                return backup
            if chain.follow(files, start).newest:
                return backup
        except VerificationFailed:
            if point is None:
                break
    return candidates[-1]


def _follow(
    files: Sequence[File],
    start: Position,
    until: Position | None,
    backup: Entry,
    request: RestoreRequest,
) -> Chain:
    try:
        return chain.follow(files, start, until)
    except VerificationFailed as error:
        raise VerificationFailed(
            f"{_words(request).capitalize()} cannot be reached from backup {backup.backup_id}: "
            f"{error}"
        ) from None


def fetched(way: Destination, folder: Path) -> Destination:
    """Return the way over files that were fetched below ``folder``, its point now exact.

    Raises VerificationFailed when they are not what was listed.
    """
    files = archive.survey(folder)
    if way.moment is not None:
        files = chain.before_time(files, way.moment)
    elif way.until is not None:
        files = chain.toward(files, way.until)
    leads = replace(chain.follow(files, way.start, way.until), left_out=way.chain.left_out)
    if way.moment is None:
        return replace(way, chain=leads)
    cut = chain.at_time(leads, way.start, way.moment)
    return replace(way, chain=leads, until=cut.position)


def own_files(data_dir: Path, member: str) -> list[File]:
    """Return the binary log that the data directory of this host holds."""
    found = []
    for path in sorted(data_dir.glob("binlog.[0-9]*")):
        if chain.NAME.fullmatch(path.name) and path.is_file() and path.stat().st_size > 4:
            found.append(File(member, binlog.summary(path)))
    return found


def _named(request: RestoreRequest, backups: Sequence[Entry]) -> RestoreRequest:
    """A backup's own name, with ``dbops_`` before it, is the point of its fingerprint."""
    if request.name is None:
        return request
    for entry in backups:
        if request.name == f"dbops_{entry.backup_id}" and entry.manifest.fingerprints:
            point = entry.manifest.fingerprints[0].point
            return replace(request, name=None, point=point, backup_id=entry.backup_id)
    raise ConfigError(
        f"There is no restore point {request.name[:80]!r}: the names are dbops_BACKUP, for a "
        "backup with a fingerprint."
    )


def _one_point(request: RestoreRequest) -> None:
    if request.time is not None and request.point is not None:
        raise ConfigError("Only one of a time and a GTID can be restored to.")
    if request.time is not None and request.time.tzinfo is None:
        raise ConfigError("The time to restore to needs a time zone, such as Z for UTC.")
    if request.point is not None and not gtid.parse(request.point).last:
        raise ConfigError("The GTID to restore to is empty: write it as domain-server-number.")


def _listed(repo: Repository, log: Entry | None) -> list[File]:
    if log is None:
        return []
    # Beside the files, under its path there; earlier versions stored it alone, under its name.
    name = next((name for name in log.snapshots if Path(name).name == index.NAME), None)
    if name is None or LOG not in log.snapshots:
        raise VerificationFailed(f"Log backup {log.backup_id} lacks its list of files.")
    return index.read(repo.read_text(log.snapshots[name], name), Path("/"))


def _for_time(
    candidates: Sequence[Entry], files: Sequence[File], moment: datetime, live: bool
) -> list[Entry]:
    oldest = min(entry.manifest.stop for entry in candidates)
    newest = max([oldest, *(file.summary.last_at for file in files)])
    newest = datetime.now(UTC) if live else newest
    fitting = [entry for entry in candidates if entry.manifest.stop <= moment]
    if not fitting or moment > newest:
        raise ConfigError(
            f"{_utc(moment)} is outside the recovery window, "
            f"which is from {_utc(oldest)} to {_utc(newest)}."
        )
    return fitting


def _for_point(candidates: Sequence[Entry], files: Sequence[File], point: Position) -> list[Entry]:
    starts = [(gtid.parse(entry.manifest.stop_point), entry) for entry in candidates]
    fitting = [entry for start, entry in starts if _before(start, point)]
    newest = starts[0][0]
    for file in files:
        newest = newest.joined(file.summary.after)
    if not fitting or not newest.holds(point):
        raise ConfigError(
            f"{point} is outside the recovery window, which is from {starts[0][0]} to {newest}."
        )
    return fitting


def _before(start: Position, point: Position) -> bool:
    if point.by_server:
        return point.holds(start)
    return all(start.numbers().get(name, 0) <= n for name, n in point.numbers().items())


def _highest(found: Sequence[Entry], files: Sequence[File]) -> Position:
    position = Position()
    for entry in found:
        position = position.joined(gtid.parse(entry.manifest.stop_point))
    for file in files:
        position = position.joined(file.summary.after)
    return position


def _words(request: RestoreRequest) -> str:
    if request.time is not None:
        return _utc(request.time)
    return f"GTID {request.point}" if request.point is not None else "the newest moment"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
