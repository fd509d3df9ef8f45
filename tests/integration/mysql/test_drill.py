"""Drills in a real cell: proven when all is well, red for each thing that is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dbops.contract import DrillRequest, DrillResult
from dbops.drill.verdict import CLOCK_TOLERANCE_SECONDS
from dbops.engines.mysql import ENGINE
from dbops.manifest import Fingerprint, Manifest
from dbops.repository import catalogue
from dbops.repository.restic import Repository
from dbops.repository.routes import Entry
from dbops.targets import Target
from tests.integration.mysql.site import Site, backup_repository

pytestmark = pytest.mark.integration


UNREACHABLE = "192.0.2.1"
"""RFC 5737: nobody's; in a cell 127.0.0.1 is the cell itself."""


@pytest.fixture
def drill(site: Site) -> Target:
    return site.target(
        "drill",
        scratch_dir=str(site.folder / "scratch"),
        drill_user="mysql",
        hosts={"m1": UNREACHABLE},
    )


def run(target: Target) -> DrillResult:
    assert ENGINE.run_drill is not None
    return ENGINE.run_drill(target, DrillRequest(), lambda text: None)


def test_a_sound_backup_is_proven(site: Site, drill: Target) -> None:
    with site.following():
        site.take()
        site.member.run("INSERT INTO d.t (a) VALUES ('1')")
        site.take("incremental")
        site.member.run("INSERT INTO d.t (a) VALUES ('2')", "FLUSH BINARY LOGS")
        site.beat()
        time.sleep(1)
        site.take("log")
    result = run(drill)
    assert result.proven, result.reason
    assert result.rpo_seconds is not None
    assert result.rpo_seconds < 60
    assert {table.table for table in result.tables} == {"t", "heartbeat"}
    assert not Path(site.folder / "scratch").exists()


def test_accounts_made_and_altered_after_the_backup_are_replayed(site: Site, drill: Target) -> None:
    ed25519 = "ed25519 USING PASSWORD('changed-by-hand')"
    with site.following():
        site.take()
        site.member.run(
            f"CREATE USER late@'%' IDENTIFIED VIA {ed25519}",
            f"ALTER USER late@'%' IDENTIFIED VIA unix_socket OR {ed25519}",
        )
        site.beat()
        site.take("log")
    result = run(drill)
    assert result.proven, result.reason


def test_log_that_comes_while_the_catalogue_is_read_is_not_from_the_future(
    site: Site, drill: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = catalogue.entries

    def slow(repo: Repository) -> tuple[Entry, ...]:
        monkeypatch.setattr(catalogue, "entries", entries)
        time.sleep(CLOCK_TOLERANCE_SECONDS + 1)
        site.beat()
        time.sleep(1)
        site.take("log")
        return entries(repo)

    with site.following():
        site.take()
        monkeypatch.setattr(catalogue, "entries", slow)
        result = run(drill)
    assert result.proven, result.reason
    assert result.rpo_seconds is not None
    assert 0 < result.rpo_seconds < 60


def test_content_that_is_not_as_recorded_is_red(site: Site, drill: Target) -> None:
    with site.following():
        manifest = site.take()
    (found,) = manifest.fingerprints
    tables = [
        database.model_copy(
            update={
                "tables": tuple(
                    table.model_copy(update={"checksum": "0" * 32}) if table.name == "t" else table
                    for table in database.tables
                )
            }
        )
        for database in found.databases
    ]
    _record(site, manifest, found.model_copy(update={"databases": tuple(tables)}))
    result = run(drill)
    assert not result.proven
    assert result.reason.startswith("Table 't' of database 'd' differs in content")


def _record(site: Site, manifest: Manifest, wrong: Fingerprint) -> None:
    """Put another fingerprint into the catalogue's record of the full backup."""
    repo = backup_repository(site)
    (entry,) = [one for one in catalogue.entries(repo) if one.manifest.kind == "full"]
    altered = manifest.model_copy(update={"fingerprints": (wrong,)})
    catalogue.add(site.repository, repo, Entry(manifest=altered, snapshots=entry.snapshots))


def test_a_fingerprint_of_another_algorithm_is_refused_in_words(site: Site, drill: Target) -> None:
    with site.following():
        manifest = site.take()
    (found,) = manifest.fingerprints
    _record(site, manifest, found.model_copy(update={"algorithm": "mariadb-row-hash-0"}))
    result = run(drill)
    assert not result.proven
    assert result.reason.startswith("The fingerprint was made by 'mariadb-row-hash-0'")
    assert not result.differences
    assert [step.name for step in result.steps] == ["isolation", "catalogue", "clean-up"]


def test_a_backup_without_a_heartbeat_is_red(site: Site, drill: Target) -> None:
    site.member.run("DELETE FROM dbops.heartbeat")
    with site.following():
        site.take()
    result = run(drill)
    assert not result.proven
    assert result.reason.startswith("No heartbeat in the restored data")


def test_a_backup_without_the_table_of_heartbeats_is_red_in_the_same_words(
    site: Site, drill: Target
) -> None:
    site.member.run("DROP TABLE dbops.heartbeat")
    with site.following():
        site.take()
    result = run(drill)
    assert not result.proven
    assert result.reason.startswith("No heartbeat in the restored data")


def test_an_audit_sees_what_is_wrong(site: Site) -> None:
    site.member.run(
        "CREATE USER ''@'%'",
        "CREATE USER strong@'%' IDENTIFIED BY 'x'",
        "GRANT SUPER ON *.* TO strong@'%'",
        "CREATE ROLE hidden",
        "GRANT FILE ON *.* TO hidden",
        "GRANT hidden TO strong@'%' WITH ADMIN OPTION",
        "GRANT PROXY ON root@localhost TO strong@'%'",
        "GRANT SELECT ON mysql.* TO PUBLIC",
        "CREATE DATABASE test",
    )
    assert ENGINE.audit is not None
    target = site.target(
        "member",
        data_dir=str(site.member.data),
        config_file=str(site.member.config),
        tls_key=str(site.tls / "server.key"),
        administrators=["b", "l", "mysql"],
    )
    found = {control.control_id: control for control in ENGINE.audit(target)}
    assert len([name for name in found if name.startswith("MY-")]) == 28
    assert not [c for c in found.values() if "cannot be checked" in c.detail]
    for line in (
        "strong@% holds SUPER",
        "hidden@ holds FILE",
        "strong@% may act as root@localhost",
        "strong@% may give the role hidden to others",
    ):
        assert line in found["MY-22"].detail
    assert "PUBLIC" in found["MY-23"].detail
    assert "the audit plugin is not loaded" in found["MY-24"].detail
    assert "anonymous" in found["MY-25"].detail
    assert found["MY-15"].status == "fail"
    assert "strong@%" in found["MY-26"].detail
    assert "strong@%" in found["MY-27"].detail
    assert found["MY-07"].status == "pass"
    assert found["MY-10"].status == "fail"


def test_a_member_reports_metrics(site: Site) -> None:
    assert ENGINE.collect is not None
    target = site.target("member", data_dir=str(site.member.data), agent_user="root")
    found = {sample.name: sample.value for sample in ENGINE.collect(target)}
    assert found["dbops_up"] == 1
    assert found["dbops_tls_certificate_known"] == 1
    assert 0 <= found["dbops_heartbeat_age_seconds"] < 120
    assert found["dbops_replication_link_up"] == 1
