"""Samples from fixtures: never absent, and never calm when the link is cut."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbops import status
from dbops.contract import DrillResult, DrillTable, Sample
from dbops.drill import history
from dbops.engines.postgresql import monitor, options, replication_metrics
from dbops.manifest import Omission
from dbops.monitor import samples
from dbops.monitor.target import Seen, Vitals, followed, vitals
from dbops.targets import Target

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


def values(samples: Iterable[Sample]) -> dict[str, float]:
    return {
        sample.name + "".join(f"/{value}" for _, value in sample.labels): sample.value
        for sample in samples
    }


def make_target(tmp_path: Path, part: str, **extra: Any) -> Target:
    return Target.model_validate(
        {
            "schema_version": 1,
            "engine": "postgresql",
            "cluster": "flights",
            "part": part,
            "member": "pg1",
            "version": "15",
            "members": ["pg1"],
            "objectives": {"rpo_seconds": 60, "rto_seconds": 600},
            "state_dir": str(tmp_path),
            "options": {"stanza": "flights", "repo_path": str(tmp_path), **extra},
        }
    )


def standby(
    end: float | None, contact: float | None, seen: Seen, beat: float, now: float = NOW
) -> dict[str, float]:
    row = (1000.0, end, contact)
    return values(followed(beat, replication_metrics.standby(row, beat, seen, now), now))


def test_a_healthy_standby() -> None:
    found = standby(1200.0, NOW - 1, Seen(), NOW - 1.5)

    assert found["dbops_replication_link_up"] == 1
    assert found["dbops_replication_lag_seconds"] == 1.5
    assert found["dbops_replication_lag_bytes"] == 200
    assert found["dbops_replication_lag_bytes_known"] == 1
    assert found["dbops_replication_last_contact_timestamp_seconds"] == NOW - 1


def test_a_cut_link_shows_growing_lag_in_seconds_and_bytes() -> None:
    seen = Seen()
    standby(1000.0, NOW - 10, seen, NOW - 10, NOW - 10)
    standby(1500.0, NOW, seen, NOW)

    first = standby(None, None, seen, NOW, NOW + 20)
    later = standby(None, None, seen, NOW, NOW + 60)

    assert first["dbops_replication_link_up"] == 0
    assert first["dbops_replication_lag_seconds"] == 20
    assert first["dbops_replication_lag_bytes"] == 500 + 50 * 20
    assert first["dbops_replication_lag_bytes_known"] == 0
    assert later["dbops_replication_lag_seconds"] == 60
    assert later["dbops_replication_lag_bytes"] > first["dbops_replication_lag_bytes"]
    assert later["dbops_replication_last_contact_timestamp_seconds"] == NOW
    assert first.keys() == later.keys()


def test_a_silent_link_is_a_cut_one() -> None:
    found = standby(1000.0, NOW - 36, Seen(), NOW - 36)

    assert found["dbops_replication_link_up"] == 0
    assert found["dbops_replication_lag_seconds"] == 36
    assert found["dbops_replication_lag_bytes"] >= 1


def test_a_cut_link_that_was_never_up_is_not_calm_either() -> None:
    found = standby(None, None, Seen(), NOW - 100)

    assert found["dbops_replication_lag_seconds"] == 100
    assert found["dbops_replication_lag_bytes"] >= 1
    assert found["dbops_replication_last_contact_timestamp_seconds"] == NOW - 100


def test_a_standby_without_heartbeat_says_that_it_does_not_know() -> None:
    link = replication_metrics.standby((1000.0, 1000.0, NOW), 0.0, Seen(), NOW)
    found = values(followed(None, link, NOW))

    assert found["dbops_replication_lag_seconds_known"] == 0


def test_primary_and_standby_have_the_same_series() -> None:
    primary = values(followed(NOW - 1, None, NOW))

    assert primary.keys() == standby(1.0, NOW, Seen(), NOW).keys()
    assert primary["dbops_replication_lag_seconds"] == 0


def test_a_slot_shows_a_standby_that_is_gone(tmp_path: Path) -> None:
    target = make_target(tmp_path, "member")
    found = values(replication_metrics.slots(target, [("pg2", 36_500_000.0, False)]))

    assert found["dbops_replication_slot_lag_bytes/pg1/pg2"] == 36_500_000
    assert found["dbops_replication_slot_active/pg1/pg2"] == 0


def test_pending_log_is_counted_from_the_end_of_the_newest_archived_segment() -> None:
    row = ("000000010000000000000003", True, False, 3.0, 0.0, 4.5 * 16 * 1024 * 1024)
    found = values(replication_metrics.archiver_samples(row))

    assert found["dbops_archive_pending_bytes"] == 8 * 1024 * 1024
    assert found["dbops_archive_pending_bytes_known"] == 1


def test_the_label_of_a_backup_counts_as_the_segment_it_began_in() -> None:
    name = "000000010000000000000003.00000028.backup"
    row = (name, True, False, 3.0, 0.0, 4.0 * 16 * 1024 * 1024)
    found = values(replication_metrics.archiver_samples(row))

    assert found["dbops_archive_pending_bytes"] == 0
    assert found["dbops_archive_pending_bytes_known"] == 1


@pytest.mark.parametrize("name", [None, "00000002.history", "x"])
def test_pending_log_without_an_archived_segment_is_not_known(name: str | None) -> None:
    row = (name, name is not None, True, 0.0, 1.0, 100.0)
    found = values(replication_metrics.archiver_samples(row))

    assert found["dbops_archive_pending_bytes_known"] == 0
    assert found["dbops_archive_failing"] == 1


def test_an_empty_status_gives_every_series_with_zeros(tmp_path: Path) -> None:
    target = make_target(tmp_path, "repository", schedule_interval_seconds={"full": 86400})
    intervals = options.read(target).schedule_interval_seconds
    empty = values(samples.backups(status.read(target), monitor.METHOD, monitor.KINDS, intervals))

    assert empty["dbops_backup_last_success_timestamp_seconds/pgbackrest/full/repo1"] == 0
    assert empty["dbops_backup_schedule_interval_seconds/pgbackrest/full/repo1"] == 86400

    filled = {
        "kinds": {
            "full": {
                "last_attempt": "2026-03-01T00:00:00+00:00",
                "last_result": 1,
                "last_success": "2026-03-01T00:00:00+00:00",
                "duration_seconds": 12.5,
                "bytes_stored": 100,
                "bytes_read": 300,
            }
        },
        "verify": {"problems": ["a", "b"], "last_result": 0},
        "catalogue": {"retained": 3, "full": 1, "chain_length": 2, "encrypted": True},
    }
    full = values(samples.backups(filled, monitor.METHOD, monitor.KINDS, intervals))

    assert full.keys() == empty.keys()
    assert full["dbops_backup_last_success_timestamp_seconds/pgbackrest/full/repo1"] == (
        BEGAN.timestamp()
    )
    assert full["dbops_backup_encrypted/pgbackrest"] == 1
    assert full["dbops_backup_verify_problems/pgbackrest"] == 2


def test_a_torn_status_is_zeros_and_not_an_error(tmp_path: Path) -> None:
    target = make_target(tmp_path, "repository")
    status.path(target).write_text("{")

    assert list(monitor.collect(target))


def make_result(began: datetime, proven: bool) -> DrillResult:
    return DrillResult(
        engine="postgresql",
        cluster="flights",
        backup_id="x",
        started_at=began,
        finished_at=began,
        proven=proven,
        reason="",
        rpo_seconds=5.0 if proven else None,
        rto_seconds=50.0 if proven else None,
        rpo_objective_seconds=60,
        rto_objective_seconds=600,
        bytes_restored=10,
        tables=(
            DrillTable("a", "t", 10, 10, True),
            DrillTable("a", "u", 5, 7 if not proven else 5, proven),
        ),
        omitted=(Omission(database="a", name="v", kind="unlogged table", reason="not logged"),),
    )


def test_drills_before_the_first_after_a_proof_and_after_a_failure(tmp_path: Path) -> None:
    target = make_target(tmp_path, "drill")
    none = values(samples.drills(target, monitor.METHOD, 0.0))
    history.save(target, make_result(BEGAN, True))
    proof = values(samples.drills(target, monitor.METHOD, 0.0))
    history.save(target, make_result(BEGAN + timedelta(days=1), False))
    failure = values(samples.drills(target, monitor.METHOD, 0.0))

    assert none.keys() == proof.keys() == failure.keys()
    name = "dbops_restore_drill_{}/pgbackrest"
    assert none[name.format("last_timestamp_seconds")] == 0
    assert proof[name.format("last_result")] == 1
    assert proof[name.format("rto_seconds")] == 50
    assert proof[name.format("rows_checked")] == 15
    assert none[name.format("objects_not_compared")] == 0
    assert proof[name.format("objects_not_compared")] == 1
    assert failure[name.format("last_result")] == 0
    assert failure[name.format("rto_seconds_known")] == 0
    assert failure[name.format("rows_mismatched")] == 7
    assert failure[name.format("last_success_timestamp_seconds")] == BEGAN.timestamp()


def test_every_metric_is_documented(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text()
    package = Path(monitor.__file__).parent
    import re

    names: set[str] = set()
    for module in ("monitor", "member_metrics", "replication_metrics"):
        text = (package / f"{module}.py").read_text()
        names |= set(re.findall(r'Sample\(\s*"(dbops_\w+)"', text))
    target = make_target(tmp_path, "drill")
    names |= {sample.name for sample in monitor.collect(target)}
    names |= {sample.name for sample in monitor.collect(make_target(tmp_path, "repository"))}

    names |= {sample.name for sample in followed(None, None, NOW)}
    names |= {sample.name for sample in vitals(Vitals("15.4", NOW, 1, 2, 3, 4, 5))}

    assert len(names) > 50
    assert not {name for name in names if f"`{name}`" not in page}
