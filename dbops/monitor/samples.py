"""Samples that every engine has: objectives, disks, certificates, backups and drills.

They are read from this host's own files; a value that cannot be had has a ``_known`` of 0 beside
it. What is *not* here: what a server says of itself (each engine's ``monitor``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dbops.contract import DrillResult, Sample
from dbops.drill import history
from dbops.errors import DbopsError
from dbops.manifest import Kind
from dbops.monitor.certificates import Certificate
from dbops.targets import Target

Labels = tuple[tuple[str, str], ...]
KNOWN = "Whether the value beside it was measured just now."


@dataclass(frozen=True)
class _Served:
    not_after: float
    subject: str
    issuer: str


_served: dict[tuple[str, int], _Served] = {}


def objectives(target: Target) -> Iterator[Sample]:
    """Yield what the owner of the data was promised."""
    declared = target.objectives
    for name, value in (("rpo", declared.rpo_seconds), ("rto", declared.rto_seconds)):
        yield Sample(f"dbops_objective_{name}_seconds", value, (), f"Declared {name.upper()}.")


def disk(mount: str, path: Path) -> Iterator[Sample]:
    """Yield the free and total bytes of the file system that holds ``path``."""
    labels = (("mount", mount),)
    place = path
    while True:
        try:
            found = os.statvfs(place)
            break
        except OSError:
            if place == place.parent:
                return
            place = place.parent
    free = float(found.f_bavail * found.f_frsize)
    yield Sample("dbops_disk_free_bytes", free, labels, "Free bytes where this is stored.")
    total = float(found.f_blocks * found.f_frsize)
    yield Sample("dbops_disk_size_bytes", total, labels, "Size of the file system it is on.")


def certificate(
    address: tuple[str, int], read: Callable[[tuple[str, int]], Certificate]
) -> Iterator[Sample]:
    """Yield the expiry of the certificate that a port serves now, or served when last asked.

    ``read`` asks for it in the engine's own protocol and raises OSError when it gets none.
    """
    known = True
    try:
        found = read(address)
        _served[address] = _Served(found.not_after.timestamp(), found.subject, found.issuer)
    except OSError:
        known = False
    last = _served.get(address, _Served(0.0, "", ""))
    labels = (("subject", last.subject), ("issuer", last.issuer), ("port", str(address[1])))
    yield Sample(
        "dbops_tls_certificate_not_after_timestamp_seconds",
        last.not_after,
        labels,
        "When the certificate that the port serves expires; 0 is never seen.",
    )
    yield Sample(
        "dbops_tls_certificate_known",
        float(known),
        (("port", str(address[1])),),
        "Whether the port served a certificate just now.",
    )


def lag(seconds: float, size: float, seconds_known: bool, size_known: bool) -> Iterator[Sample]:
    """Yield how far this member is behind; a primary is never behind."""
    yield Sample(
        "dbops_replication_lag_seconds",
        max(0.0, seconds),
        (),
        "Age of the newest heartbeat replayed here; 0 on a primary.",
    )
    yield Sample("dbops_replication_lag_seconds_known", float(seconds_known), (), KNOWN)
    yield Sample(
        "dbops_replication_lag_bytes",
        size,
        (),
        "Log of the source not replayed here; estimated while the link is cut.",
    )
    yield Sample("dbops_replication_lag_bytes_known", float(size_known), (), KNOWN)


def link(up: bool, contact: float) -> Iterator[Sample]:
    """Yield whether log streams in, and when the source was last heard of (seconds since 1970)."""
    yield Sample(
        "dbops_replication_link_up",
        float(up),
        (),
        "Whether log streams in; always 1 on a primary.",
    )
    yield Sample(
        "dbops_replication_last_contact_timestamp_seconds",
        contact,
        (),
        "When the source was last heard of; now on a primary.",
    )


def exposure(newest: float | None, now: float) -> Iterator[Sample]:
    """Yield what would be lost if every member went away now: what came since the newest log.

    ``newest`` is the time (since 1970) that the repository's log goes up to, None when it is not
    known. The repository host tells it: it is what would be left.
    """
    yield Sample(
        "dbops_rpo_exposure_seconds",
        max(0.0, now - newest) if newest is not None else 0.0,
        (),
        "Age of the newest log in the repository: what would be lost with every member.",
    )
    yield Sample("dbops_rpo_exposure_known", float(newest is not None), (), KNOWN)


def noted_newest(found: dict[str, Any]) -> float | None:
    """Return the newest recovery point that a status (:mod:`dbops.status`) names, if any."""
    return _time(found["catalogue"].get("newest")) or None


def backups(
    found: dict[str, Any], method: str, kinds: Sequence[Kind], intervals: Mapping[Kind, float]
) -> Iterator[Sample]:
    """Yield what a status (:mod:`dbops.status`) says of backups; a kind never tried has zeros.

    ``method`` names the tool, ``kinds`` are those that the engine takes, ``intervals`` how often
    the policy promises each, in seconds.
    """
    tried = found["kinds"]
    for kind in dict.fromkeys((*kinds, *intervals, *tried)):
        yield from _kind(method, kind, tried.get(kind, {}), intervals.get(kind, 0.0))
    yield from _catalogue(method, found["catalogue"])
    yield from _verification(method, found["verify"])
    if found.get("members"):
        yield from _members(found["members"])


def _members(last: dict[str, Any]) -> Iterator[Sample]:
    equal = _time(last.get("last_success"))
    text = "When all members were last found to have the primary's content; 0 is never."
    yield Sample("dbops_members_equal_timestamp_seconds", equal, (), text)
    text = "Whether the last comparison found all members equal to the primary."
    yield Sample("dbops_members_last_result", _number(last.get("last_result")), (), text)
    text = "Places in which the last comparison found a member to differ from the primary."
    for member, number in sorted((last.get("differences") or {}).items()):
        labels = (("member", str(member)),)
        yield Sample("dbops_members_differences", _number(number), labels, text)


def _verification(method: str, verify: dict[str, Any]) -> Iterator[Sample]:
    yield _backup(
        "checksum_verified_timestamp_seconds",
        method,
        _time(verify.get("last_success")),
        (),
        "When every stored file was last read back and found sound; 0 is never.",
    )
    yield _backup(
        "verify_last_attempt_timestamp_seconds",
        method,
        _time(verify.get("last_attempt")),
        (),
        "When the stored files were last read back; 0 is never.",
    )
    yield _backup(
        "verify_last_result",
        method,
        _number(verify.get("last_result")),
        (),
        "Whether the last reading back found every file sound.",
    )
    yield _backup(
        "verify_problems",
        method,
        float(len(verify.get("problems") or ())),
        (),
        "Problems that the last reading back found.",
    )


def _kind(method: str, kind: str, found: dict[str, Any], interval: float) -> Iterator[Sample]:
    labels = (("type", kind), ("repository", "repo1"))
    for name, value, text in (
        (
            "last_success_timestamp_seconds",
            _time(found.get("last_success")),
            "When the last good backup of this type ended; 0 is never.",
        ),
        (
            "last_attempt_timestamp_seconds",
            _time(found.get("last_attempt")),
            "When a backup of this type was last begun; 0 is never.",
        ),
        (
            "last_result",
            _number(found.get("last_result")),
            "Whether the last attempt of this type that has ended succeeded; a killed one did not.",
        ),
        (
            "last_duration_seconds",
            _number(found.get("duration_seconds")),
            "How long the last attempt took.",
        ),
        (
            "last_size_bytes",
            _number(found.get("bytes_stored")),
            "Bytes that the last backup added to the repository.",
        ),
        (
            "last_read_bytes",
            _number(found.get("bytes_read")),
            "Bytes of the database that the last backup read.",
        ),
        (
            "schedule_interval_seconds",
            interval,
            "How often the policy promises a backup of this type; 0 is not scheduled.",
        ),
    ):
        yield _backup(name, method, value, labels, text)


def _catalogue(method: str, found: dict[str, Any]) -> Iterator[Sample]:
    for name, value, text in (
        ("retained_count", _number(found.get("retained")), "Complete backups in the repository."),
        ("retained_full_count", _number(found.get("full")), "Complete full backups among them."),
        (
            "chain_length",
            _number(found.get("chain_length")),
            "Backups that a restore of the newest one needs.",
        ),
        ("encrypted", _number(found.get("encrypted")), "Whether the repository is encrypted."),
        (
            "oldest_recovery_point_timestamp_seconds",
            _time(found.get("oldest")),
            "The earliest time that can be restored to; 0 is none.",
        ),
        (
            "newest_recovery_point_timestamp_seconds",
            _time(found.get("newest")),
            "The latest time that could be restored to when the catalogue was read; 0 is none.",
        ),
        (
            "recovery_gap_seconds",
            _number(found.get("gap_seconds")),
            "Time between these two that no restore can go to.",
        ),
        (
            "suspect",
            float(bool(found.get("doubt"))),
            "Whether the newest full backup holds less than half of the data before it.",
        ),
        ("catalogue_known", float(bool(found)), "Whether the catalogue has been read."),
    ):
        yield _backup(name, method, value, (), text)


def _backup(name: str, method: str, value: float, labels: Labels, text: str) -> Sample:
    return Sample(f"dbops_backup_{name}", value, (("method", method), *labels), text)


def drills(target: Target, method: str, interval_seconds: float) -> Iterator[Sample]:
    """Yield the newest drill's outcome; zeros and ``_known`` 0 when there was none."""
    newest, problem = _newest(target)
    proven = newest if problem or (newest and newest.proven) else history.newest(target, True)
    last = newest.finished_at.timestamp() if newest else 0.0
    success = proven.finished_at.timestamp() if proven else 0.0
    yield _drill("last_timestamp_seconds", method, last, "When the last drill ended; 0 is never.")
    yield _drill(
        "last_success_timestamp_seconds",
        method,
        success,
        "When a drill last proved a backup; 0 is never.",
    )
    yield _drill(
        "last_result",
        method,
        float(newest is not None and newest.proven),
        "Whether the last drill proved the backup.",
    )
    yield _drill(
        "interval_seconds",
        method,
        interval_seconds,
        "How often the policy promises a drill; 0 is not scheduled.",
    )
    yield _drill("history_unreadable", method, float(problem), "Whether results cannot be read.")
    for name, value in (
        ("rto", newest.rto_seconds if newest else None),
        ("rpo", newest.rpo_seconds if newest else None),
    ):
        yield _drill(f"{name}_seconds", method, value or 0.0, f"Measured {name.upper()}, if known.")
        yield _drill(
            f"{name}_seconds_known", method, float(value is not None), "Whether it was measured."
        )
    yield from _content(method, newest)


def _content(method: str, newest: DrillResult | None) -> Iterator[Sample]:
    tables = newest.tables if newest else ()
    checked = sum(table.rows_expected for table in tables)
    unequal = [table for table in tables if not table.equal]
    mismatched = sum(max(table.rows_expected, table.rows_found or 0) for table in unequal)
    yield _drill("rows_checked", method, float(checked), "Rows whose content was compared.")
    yield _drill(
        "rows_mismatched",
        method,
        float(mismatched),
        "Rows of the tables that differ from what was recorded.",
    )
    yield _drill("tables_mismatched", method, float(len(unequal)), "Tables that differ.")
    omitted = len(newest.omitted) if newest else 0
    text = "Objects that were not compared, for no fingerprint tells of them."
    yield _drill("objects_not_compared", method, float(omitted), text)
    restored = float(newest.bytes_restored) if newest else 0.0
    yield _drill("restored_bytes", method, restored, "Bytes that were restored.")


def _newest(target: Target) -> tuple[DrillResult | None, bool]:
    try:
        return history.newest(target), False
    except DbopsError:
        return None, True


def _drill(name: str, method: str, value: float, text: str) -> Sample:
    return Sample(f"dbops_restore_drill_{name}", value, (("method", method),), text)


def _time(value: object) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp() if value else 0.0
    except ValueError:
        return 0.0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
