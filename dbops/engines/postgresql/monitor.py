"""Samples of one target, by this host's part in the cluster.

A value that cannot be had has a ``_known`` of 0 beside it and is never reported as well. What is
*not* here: HTTP, deadlines and the labels ``engine``, ``cluster`` and ``instance_name``, which the
exporter adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from dbops import history
from dbops.contract import DrillResult, Sample
from dbops.engines.postgresql import member_metrics, options, status
from dbops.engines.postgresql.member_metrics import disk
from dbops.engines.postgresql.options import Options
from dbops.errors import DbopsError
from dbops.targets import Target

Labels = tuple[tuple[str, str], ...]
_METHOD: Labels = (("method", "pgbackrest"),)
_KINDS = ("full", "differential", "incremental")


def collect(target: Target) -> Iterable[Sample]:
    """Yield the samples of ``target``; Unreachable after the local ones when the server is down."""
    opts = options.read(target)
    yield from objectives(target)
    if target.part == "member":
        yield from member_metrics.collect(target, opts)
    elif target.part == "repository":
        yield from disk("backup", opts.repo_path)
        yield from backups(opts, status.read(target))
    else:
        yield from disk("scratch", opts.require_path("scratch_dir"))
        yield from drills(target, opts)


def objectives(target: Target) -> Iterator[Sample]:
    """Yield what the owner of the data was promised."""
    declared = target.objectives
    for name, value in (("rpo", declared.rpo_seconds), ("rto", declared.rto_seconds)):
        yield Sample(f"dbops_objective_{name}_seconds", value, (), f"Declared {name.upper()}.")


def backups(opts: Options, found: dict[str, Any]) -> Iterator[Sample]:
    """Yield what the status file says of backups; a kind that was never tried has zeros."""
    kinds = found["kinds"]
    for kind in dict.fromkeys((*_KINDS, *opts.schedule_interval_seconds, *kinds)):
        yield from _kind(kind, kinds.get(kind, {}), opts)
    yield from _catalogue(found["catalogue"])
    verify = found["verify"]
    yield _backup(
        "checksum_verified_timestamp_seconds",
        _time(verify.get("last_success")),
        (),
        "When every stored file was last read back and found sound; 0 is never.",
    )
    yield _backup(
        "verify_last_attempt_timestamp_seconds",
        _time(verify.get("last_attempt")),
        (),
        "When the stored files were last read back; 0 is never.",
    )
    yield _backup(
        "verify_last_result",
        _number(verify.get("last_result")),
        (),
        "Whether the last reading back found every file sound.",
    )
    yield _backup(
        "verify_problems",
        float(len(verify.get("problems") or ())),
        (),
        "Problems that the last reading back found.",
    )


def _kind(kind: str, found: dict[str, Any], opts: Options) -> Iterator[Sample]:
    labels = (("type", kind), ("repository", "repo1"))
    interval = opts.schedule_interval_seconds.get(kind, 0.0)  # type: ignore[call-overload]
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
            "Whether the last attempt of this type succeeded.",
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
            float(interval),
            "How often the policy promises a backup of this type; 0 is not scheduled.",
        ),
    ):
        yield _backup(name, value, labels, text)


def _catalogue(found: dict[str, Any]) -> Iterator[Sample]:
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
        ("catalogue_known", float(bool(found)), "Whether the catalogue has been read."),
    ):
        yield _backup(name, value, (), text)


def _backup(name: str, value: float, labels: Labels, text: str) -> Sample:
    return Sample(f"dbops_backup_{name}", value, _METHOD + labels, text)


def drills(target: Target, opts: Options) -> Iterator[Sample]:
    """Yield the newest drill's outcome; zeros and ``_known`` 0 when there was none."""
    newest, problem = _newest(target)
    proven = newest if newest is not None and newest.proven else history.newest(target, True)
    last = newest.finished_at.timestamp() if newest else 0.0
    success = proven.finished_at.timestamp() if proven else 0.0
    yield _drill("last_timestamp_seconds", last, "When the last drill ended; 0 is never.")
    yield _drill(
        "last_success_timestamp_seconds", success, "When a drill last proved a backup; 0 is never."
    )
    yield _drill(
        "last_result",
        float(newest is not None and newest.proven),
        "Whether the last drill proved the backup.",
    )
    yield _drill(
        "interval_seconds",
        opts.drill_interval_seconds or 0.0,
        "How often the policy promises a drill; 0 is not scheduled.",
    )
    yield _drill("history_unreadable", float(problem), "Whether results cannot be read.")
    for name, value in (
        ("rto", newest.rto_seconds if newest else None),
        ("rpo", newest.rpo_seconds if newest else None),
    ):
        yield _drill(f"{name}_seconds", value or 0.0, f"Measured {name.upper()}, if known.")
        yield _drill(f"{name}_seconds_known", float(value is not None), "Whether it was measured.")
    yield from _content(newest)


def _content(newest: DrillResult | None) -> Iterator[Sample]:
    tables = newest.tables if newest else ()
    checked = sum(table.rows_expected for table in tables)
    unequal = [table for table in tables if not table.equal]
    mismatched = sum(max(table.rows_expected, table.rows_found or 0) for table in unequal)
    yield _drill("rows_checked", float(checked), "Rows whose content was compared.")
    yield _drill(
        "rows_mismatched",
        float(mismatched),
        "Rows of the tables that differ from what was recorded.",
    )
    yield _drill("tables_mismatched", float(len(unequal)), "Tables that differ.")
    restored = float(newest.bytes_restored) if newest else 0.0
    yield _drill("restored_bytes", restored, "Bytes that were restored.")


def _newest(target: Target) -> tuple[DrillResult | None, bool]:
    try:
        return history.newest(target), False
    except DbopsError:
        return None, True


def _drill(name: str, value: float, text: str) -> Sample:
    return Sample(f"dbops_restore_drill_{name}", value, _METHOD, text)


def _time(value: object) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp() if value else 0.0
    except ValueError:
        return 0.0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
