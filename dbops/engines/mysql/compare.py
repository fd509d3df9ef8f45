"""Whether the replicas have what the primary has: their content at one and the same GTID.

A replica applies what the log says; what was written past the log, or on the replica itself, stays
a difference for good, and backups come from replicas. Writers are held on the primary while the
snapshots are opened, not while they are read. What is *not* here: how content is read
(:mod:`.fingerprint`), and who asks when (``dbops fingerprint --members``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pymysql

from dbops.contract import MembersCompared, Progress
from dbops.engines.mysql import client, fingerprint, flavor, members, options
from dbops.engines.mysql.fingerprint import ATTEMPTS, Content, Fixed
from dbops.engines.mysql.gtid import Position
from dbops.engines.mysql.members import Standing
from dbops.engines.mysql.options import Options
from dbops.engines.mysql.tables import MovedError
from dbops.errors import CommandFailed, Unreachable
from dbops.manifest import Fingerprint, compare
from dbops.targets import Target

HELD_SECONDS = 10.0
"""How long writers may wait for the replicas to come to where the primary stands."""
_LOCK_SECONDS = 3
_LOOK_SECONDS = 0.02
_TIMED_OUT = 1205


def compare_members(target: Target, progress: Progress) -> MembersCompared:
    """Compare each replica that keeps up with the primary, at one GTID.

    Raises Unreachable without a primary, CommandFailed when the content cannot be fixed now.
    """
    options.require_part(target, "repository")
    opts = options.read(target)
    found = members.survey(opts)
    primaries = [
        n for n, one in found.items() if isinstance(one, Standing) and one.role == "primary"
    ]
    if len(primaries) != 1:
        raise Unreachable(
            f"{len(primaries)} members of {target.cluster} are primary: there must be one to "
            "compare the others with."
        )
    replicas = _replicas(found, primaries[0])
    for attempt in range(ATTEMPTS):
        try:
            return _compare(opts, primaries[0], replicas, progress)
        except pymysql.Error as error:
            raise CommandFailed(
                f"The members could not be compared: {client.reason(error)}."
            ) from None
        except MovedError:
            progress(f"tables were being altered: attempt {attempt + 2}")
            time.sleep(attempt + 1)
    raise CommandFailed(
        f"Tables were altered during each of {ATTEMPTS} attempts: compare when no schema changes."
    )


def _replicas(found: dict[str, Standing | str], primary: str) -> dict[str, str]:
    """Return why each other member cannot be compared, empty for one that can."""
    why = {}
    for name, one in found.items():
        if name == primary:
            continue
        if isinstance(one, str):
            why[name] = one
        elif not one.receiving:
            why[name] = "it does not follow the primary"
        else:
            why[name] = ""
    return why


def _compare(
    opts: Options, primary: str, replicas: dict[str, str], progress: Progress
) -> MembersCompared:
    skipped = {name: why for name, why in replicas.items() if why}
    with ExitStack() as stack:
        with _held(opts, primary):
            first = fingerprint.fixed(fingerprint.connector(opts, primary), stack)
            if first.position is None:
                raise CommandFailed(f"{primary} keeps no binary log: run provision.")
            others = {}
            end = time.monotonic() + HELD_SECONDS
            for name in (name for name, why in replicas.items() if not why):
                if not _arrived(opts, name, first.position, end):
                    skipped[name] = f"it did not come to {first.position} in time"
                    continue
                there = fingerprint.fixed(fingerprint.connector(opts, name), stack)
                if there.position == first.position:
                    others[name] = there
                else:
                    skipped[name] = (
                        f"it stands at {there.position or 'the beginning'} and the primary at "
                        f"{first.position}: it has transactions of its own, or the primary could "
                        "not be held for long enough"
                    )
        progress(f"compare {', '.join(others) or 'no replica'} with {primary} at {first.position}")
        expected = _taken(first, first.read(progress))
        differences = {
            name: tuple(compare(expected, _taken(other, other.read(progress))))
            for name, other in others.items()
        }
    return MembersCompared(primary, expected.point, differences, skipped)


@contextmanager
def _held(opts: Options, primary: str) -> Iterator[None]:
    """Hold writers on the primary; the server itself lets them go when nobody is heard any more."""
    file = opts.require_path("backup_file")
    with client.remote(opts, file, primary) as connection:
        limits = f"lock_wait_timeout = {_LOCK_SECONDS}, wait_timeout = {int(HELD_SECONDS * 2)}"
        client.rows(connection, f"SET SESSION {limits}")
        try:
            client.rows(connection, "FLUSH TABLES WITH READ LOCK")
        except pymysql.Error as error:
            if not error.args or error.args[0] != _TIMED_OUT:
                raise
            raise CommandFailed(
                f"Writers of {primary} could not be held for a moment, as a long statement runs: "
                "compare when it is done."
            ) from None
        yield
        client.rows(connection, "UNLOCK TABLES")


def _arrived(opts: Options, name: str, point: Position, end: float) -> bool:
    with client.remote(opts, opts.require_path("backup_file"), name) as connection:
        kind = flavor.of(connection)
        while not kind.position(connection).holds(point):
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOK_SECONDS)
    return True


def _taken(at: Fixed, content: Content) -> Fingerprint:
    return Fingerprint(
        algorithm=content.algorithm,
        point=str(at.position),
        taken_at=datetime.now(UTC),
        seconds=0,
        bytes_read=content.bytes_read,
        databases=content.databases,
        omitted=content.omitted,
    )
