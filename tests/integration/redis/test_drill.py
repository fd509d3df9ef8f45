"""Drills of real backups in a real cell: proven when all is well, and red when it is not."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from dbops.contract import DrillRequest, DrillResult
from dbops.engines.redis import content, drill, fingerprint, heartbeat
from dbops.errors import ConfigError
from dbops.repository import catalogue
from tests.integration.redis.conftest import Launch
from tests.integration.redis.site import Site, follow_primary_of
from tests.integration.redis.test_content import DATA

OUT_OF_REACH = {"hosts": {"db1": "10.255.255.1"}, "drill_user": "nobody"}


@pytest.fixture
def site(folder: Any, launch: Launch, bin_dir: Any, options: Any, monkeypatch: Any) -> Site:
    """A small cluster with some data and a heartbeat, and a backup with some log."""
    if shutil.which("restic") is None or os.geteuid() != 0:
        pytest.skip("a drill needs restic and root")
    site = Site(folder, bin_dir, options.flavor, launch)
    follow_primary_of(site, monkeypatch)
    soon = int((datetime.now(UTC) + timedelta(seconds=30)).timestamp() * 1000)
    site.primary.run(*DATA, ("SET", "brief", 1, "PXAT", soon))
    site.settle()
    site.take()
    with site.primary.connect() as connection:
        assert heartbeat.beat(connection, "db1") == "primary"
    site.settle()
    site.take("log")
    return site


def run(site: Site, **options: Any) -> DrillResult:
    """Do a drill."""
    scratch = str(site.folder / "scratch")
    site.folder.chmod(0o755)
    target = site.target("drill", **(OUT_OF_REACH | {"scratch_dir": scratch} | options))
    return drill.run_drill(target, DrillRequest(), lambda text: None)


def failed(result: DrillResult) -> tuple[str, str]:
    """Return the step that failed and its words."""
    assert not result.proven
    return next(((s.name, s.detail) for s in result.steps if not s.ok), ("", result.reason))


def test_a_sound_backup_is_proven(site: Site) -> None:
    result = run(site)
    assert result.proven, result.reason
    assert [step.name for step in result.steps] == [
        "isolation",
        "catalogue",
        "space",
        "restore",
        "files",
        "content",
        "recovery to the newest",
        "heartbeat",
        "clean-up",
    ]
    assert {(table.database, table.table) for table in result.tables} >= {
        ("0", "string"),
        ("0", "hash"),
        ("3", "string"),
    }
    assert result.rpo_seconds is not None
    assert 0 <= result.rpo_seconds < 60
    assert not (site.folder / "scratch").exists()


def test_a_backup_with_the_former_fingerprint_is_proven(site: Site, monkeypatch: Any) -> None:
    with monkeypatch.context() as former:
        of_server = partial(fingerprint.of_server, algorithm=content.FORMER)
        former.setattr(fingerprint, "of_server", of_server)
        taken = site.take()
    assert [one.algorithm for one in taken.fingerprints] == [content.FORMER]
    result = run(site)
    assert result.proven, result.reason
    assert all(table.equal for table in result.tables)


def test_content_that_differs_is_named(site: Site, monkeypatch: Any) -> None:
    real = catalogue.entries

    def altered(repo: Any) -> Any:
        return tuple(_altered(entry) for entry in real(repo))

    monkeypatch.setattr(catalogue, "entries", altered)
    step, words = failed(run(site))
    assert step == "content"
    assert "'zset' of database '0' differs in content" in words


def _altered(entry: Any) -> Any:
    if not entry.manifest.fingerprints:
        return entry
    text = entry.model_dump_json().split('"name":"zset"')
    text[1] = text[1].replace('"checksum":"', '"checksum":"0', 1)
    return type(entry).model_validate_json('"name":"zset"'.join(text))


def test_without_a_heartbeat_it_is_not_proven(site: Site) -> None:
    site.primary.run(("DEL", content.HEARTBEAT))
    site.settle()
    site.take("log")
    step, words = failed(run(site))
    assert step == "heartbeat"
    assert words.startswith("No heartbeat in the restored data")


def test_a_fingerprint_of_another_algorithm_is_refused_in_words(
    site: Site, monkeypatch: Any
) -> None:
    real = catalogue.entries

    def altered(repo: Any) -> Any:
        for entry in real(repo):
            text = entry.model_dump_json().replace(content.ALGORITHM, "dbops-redis-0")
            yield type(entry).model_validate_json(text)

    monkeypatch.setattr(catalogue, "entries", lambda repo: tuple(altered(repo)))
    step, words = failed(run(site))
    assert step == "catalogue"
    assert words.startswith("The fingerprint was made by 'dbops-redis-0' and this dbops knows")


def test_a_production_server_in_reach_ends_it(site: Site) -> None:
    step, words = failed(run(site, hosts={}))
    assert step == "isolation"
    assert "names no production host" in words


def test_a_damaged_repository_is_found(site: Site) -> None:
    packs = sorted((site.folder / "repository" / "restic" / "data").rglob("*"))
    largest = max((path for path in packs if path.is_file()), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[100] ^= 0xFF
    largest.chmod(0o600)
    largest.write_bytes(damaged)
    assert not run(site).proven


def test_an_unknown_backup_is_a_slip_of_the_pen(site: Site) -> None:
    target = site.target("drill", **OUT_OF_REACH, scratch_dir=str(site.folder / "scratch"))
    with pytest.raises(ConfigError, match="No backup 'nonsense'"):
        drill.run_drill(target, DrillRequest(backup_id="nonsense"), lambda text: None)
