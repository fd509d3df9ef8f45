"""Verifying, expiring, the catalogue and the manifests, without a repository."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbops import files, status
from dbops.engines.postgresql import catalogue, options, pgbackrest, retention
from dbops.errors import ConfigError, Refused
from dbops.manifest import Manifest
from dbops.runner import describe
from dbops.targets import Target
from tests.unit.postgresql import made
from tests.unit.postgresql.test_pgbackrest import SOUND


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> made.Repository:
    stands_in = made.Repository(made.info(), made.segments(0x10, 0x40), {})
    stands_in.verify_text = SOUND
    monkeypatch.setattr(pgbackrest, "ask", stands_in.ask)
    for label in (made.FULL, made.INCREMENTAL, made.SECOND):
        (tmp_path / "repo" / "backup" / "flights" / label).mkdir(parents=True)
    return stands_in


def manifest(label: str) -> Manifest:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    return Manifest(
        engine="postgresql",
        version="15",
        cluster="flights",
        member="pg2",
        backup_id=label,
        kind="full",
        parent_id=None,
        start=moment,
        stop=moment,
        start_point="0/10000028",
        stop_point="0/10000100",
        bytes_read=1000,
        bytes_stored=100,
        encrypted=True,
        tool="pgbackrest",
        tool_version="2.45",
        dbops_version="0.1.0",
    )


def test_the_catalogue_joins_backups_and_manifests(
    tmp_path: Path, repository: made.Repository
) -> None:
    target = made.target(tmp_path)
    file = catalogue.manifest_path(options.read(target), made.SECOND)
    files.write(file, manifest(made.SECOND).model_dump_json(), shared=True)
    found = catalogue.catalogue(target)
    assert [b.backup_id for b in found.backups] == [made.FULL, made.INCREMENTAL, made.SECOND]
    assert [b.manifest is not None for b in found.backups] == [False, False, True]
    assert found.window is not None
    assert found.window.oldest.isoformat() == "2026-11-01T01:01:00+00:00"
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"backup_id": "x"}'])
def test_a_damaged_manifest_is_a_problem(
    tmp_path: Path, repository: made.Repository, text: str
) -> None:
    target = made.target(tmp_path)
    catalogue.manifest_path(options.read(target), made.FULL).write_text(text, encoding="utf-8")
    result = retention.verify(target, lambda words: None)
    assert result.problems == (f"{made.FULL}/dbops.json is damaged: it is no manifest.",)
    assert status.read(target)["verify"]["sound"] == [made.SECOND]


def test_another_backups_manifest_is_a_problem(tmp_path: Path, repository: made.Repository) -> None:
    target = made.target(tmp_path)
    file = catalogue.manifest_path(options.read(target), made.FULL)
    file.write_text(manifest(made.SECOND).model_dump_json(), encoding="utf-8")
    assert "describes" in retention.verify(target, lambda words: None).problems[0]


def test_a_hole_in_the_log_is_a_problem(tmp_path: Path, repository: made.Repository) -> None:
    repository.segments = made.segments(0x10, 0x40, missing=0x22)
    problems = retention.verify(made.target(tmp_path), lambda words: None).problems
    assert problems == ("WAL segment 000000010000000000000022 is missing from the archive 15-1",)


def test_a_backup_that_builds_on_a_bad_one_is_not_sound() -> None:
    stanza = pgbackrest.parse_info(made.info(), "flights")
    assert retention.sound_backups(stanza, (f"invalid checksum '{made.FULL}/x'",)) == [made.SECOND]


def test_a_backup_is_expired_by_its_id(tmp_path: Path, repository: made.Repository) -> None:
    step, note = describe(retention.plan_expire(made.target(tmp_path), made.FULL))
    assert f"expire --set={made.FULL} --repo1-retention-archive=" in step
    assert note == "write down what is left"


@pytest.mark.parametrize(
    "label", ["-rf", "../../x", f"{made.FULL}\n", "a;touch x", "20200101-000000F"]
)
def test_what_is_no_backup_is_refused(
    tmp_path: Path, repository: made.Repository, label: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        retention.plan_expire(made.target(tmp_path), label)
    assert "\n" not in str(caught.value)


def test_the_last_full_backup_stays(tmp_path: Path, repository: made.Repository) -> None:
    repository.info_text = made.info(made.backup(made.FULL, 0, 0x10))
    with pytest.raises(Refused, match="no full backup"):
        retention.plan_expire(made.target(tmp_path), made.FULL)


def test_the_last_verified_backup_stays(tmp_path: Path, repository: made.Repository) -> None:
    target = made.target(tmp_path)
    status.update(target, "verify", {"sound": [made.FULL]})
    with pytest.raises(Refused, match="no verified backup"):
        retention.plan_expire(target, made.FULL)
    repository.expire_text = f"P00   INFO: [DRY-RUN] repo1: expire full backup {made.FULL}\n"
    with pytest.raises(Refused, match="no verified backup"):
        retention.plan_expire(target, None)
    told: list[str] = []
    retention.expire_after_backup(target, options.read(target), told.append)
    assert told
    assert ("expire",) not in repository.asked, "nothing was let go"


def _fulls(*sizes: int) -> tuple[str, list[str]]:
    """Return what ``info`` says of daily full backups of these sizes, and their labels."""
    labels = [f"2026110{day}-010000F" for day in range(1, len(sizes) + 1)]
    stored = [
        made.backup(
            label, day, 0x10 * (day + 1),
            info={"delta": size, "size": size, "repository": {"delta": 1, "size": 1}},
        )
        for day, (label, size) in enumerate(zip(labels, sizes, strict=True))
    ]  # fmt: skip
    return made.info(*stored), labels


def _would_go(labels: list[str]) -> str:
    """Return what a trial of pgBackRest's own retention says."""
    return "".join(f"P00   INFO: repo1: expire full backup {one}\n" for one in labels)


def _scheduled(tmp_path: Path, days: int = 1) -> Target:
    """Return the target of a cluster with a full backup every so many days."""
    return made.target(tmp_path, schedule_interval_seconds={"full": days * made.DAY})


def test_nothing_expires_while_the_newest_is_suspect(
    tmp_path: Path, repository: made.Repository
) -> None:
    target = _scheduled(tmp_path)
    repository.info_text, labels = _fulls(1000, 1000, 400, 400, 410)
    repository.expire_text = _would_go(labels[:3])
    with pytest.raises(Refused, match=f"half of the 1000 of {labels[1]}"):
        retention.plan_expire(target, None)
    told: list[str] = []
    retention.expire_after_backup(target, options.read(target), told.append)
    assert f"half of the 1000 of {labels[1]}" in told[0]
    assert "expire" not in {one[0] for one in repository.asked}, "nothing was let go"
    found = catalogue.catalogue(target)
    assert found.doubt is not None
    assert labels[4] in found.doubt


def _accept(target: Target, label: str) -> None:
    """Write the manifest of a backup that a person accepted."""
    made_anew = manifest(label).model_copy(update={"accepted": True})
    file = catalogue.manifest_path(options.read(target), label)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, made_anew.model_dump_json(), shared=True)


@pytest.mark.parametrize(
    ("sizes", "days", "accepted", "retained"),
    [
        ((1000, 1000, 1000), 1, False, 2),
        ((1000, 400, 1000), 1, False, 3),  # a suspect one does not count
        ((1000, 1000, 400, 1000), 1, False, 3),
        ((1000, 1000, 400), 1, True, 2),
        ((1000, 1000, 1000, 1000), 7, False, 4),  # of one period: what came before it stays
    ],
)
def test_retention_counts_what_counts(
    tmp_path: Path,
    repository: made.Repository,
    sizes: tuple[int, ...],
    days: int,
    accepted: bool,
    retained: int,
) -> None:
    """pgBackRest keeps two by its own count."""
    target = _scheduled(tmp_path, days)
    repository.info_text, labels = _fulls(*sizes)
    repository.expire_text = _would_go(labels[:-2])
    if accepted:
        _accept(target, labels[-1])
    retention.expire_after_backup(target, options.read(target), lambda words: None)
    assert repository.asked[-1][:1] == ("expire",)
    assert f"--repo1-retention-full={retained}" in repository.asked[-1]


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_torn_status_counts_as_none(tmp_path: Path, text: str) -> None:
    target = made.target(tmp_path)
    target.state_dir.mkdir()
    status.path(target).write_text(text, encoding="utf-8")
    assert status.read(target)["kinds"] == {}
    status.update(target, "kinds", {"last_result": 1}, kind="full")
    found: dict[str, Any] = json.loads(status.path(target).read_text(encoding="utf-8"))
    assert found["kinds"]["full"] == {"last_result": 1}
