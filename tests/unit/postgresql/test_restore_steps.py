"""A restore's steps, word for word and in order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dbops.contract import RestoreRequest
from dbops.engines.postgresql import pgbackrest, restore
from dbops.errors import Refused
from dbops.restore import set_aside
from dbops.runner import Command, Completed, describe
from tests.unit.postgresql import made

KEPT = "main.set-aside-20261101T010000Z"


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose server was stopped, and root to restore it at a known time."""
    stands_in = made.Repository(made.info(), made.segments(0x10, 0x40), {})
    said = Completed(0, "postgres (PostgreSQL) 15.20 (Debian)\n", "")
    monkeypatch.setattr(pgbackrest, "ask", stands_in.ask)

    def version(command: Command) -> Completed:
        return said

    monkeypatch.setattr(restore, "capture", version)
    monkeypatch.setattr(set_aside, "name", lambda data_dir: data_dir.with_name(KEPT))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    directory = tmp_path / "main"
    directory.mkdir()
    (directory / "PG_VERSION").write_text("15\n", encoding="ascii")
    return directory


def steps(folder: Path, request: RestoreRequest, **options: str) -> list[str]:
    """Return a plan's lines, without the folder in which this test works."""
    plan = restore.plan_restore(made.target(folder, "member", **options), request)
    return [line.replace(str(folder), "/T") for line in describe(plan)]


def test_every_step_of_a_restore(main: Path) -> None:
    assert steps(main.parent, RestoreRequest()) == [
        "systemctl stop postgresql@15-main.service",
        f"rename /T/main to /T/{KEPT}",
        "make the directory /T/main",
        "[as postgres] pgbackrest --config=/etc/pgbackrest/pgbackrest.conf --stanza=flights "
        "--no-log-timestamp --log-level-stderr=warn restore --log-level-console=info "
        "--pg1-path=/T/main --set=20261103-010000F --type=default --target-timeline=latest",
        "[as postgres] chmod -R g+rX /T/main",
        "remove standby.signal from /T/main, so that the server opens for writing",
        "note in /T/state/restore.json that this restore is not proven",
        "systemctl start --no-block postgresql@15-main.service",
        "wait until the server has replayed its log and opens (at most 21600 s)",
        "remove the recovery settings from postgresql.auto.conf and settle the archiver",
        "verify that checksums are on and that the heartbeat can be read",
        "note in /T/state/restore.json that this restore is proven",
    ]


def test_a_place_without_data_keeps_none(main: Path) -> None:
    (main / "PG_VERSION").unlink()
    lines = steps(main.parent, RestoreRequest())
    assert lines[:2] == [
        "systemctl stop postgresql@15-main.service",
        "make the directory /T/main",
    ]
    assert len(lines) == 11


def test_a_restore_ends_a_copy_of_the_primary_that_did_not(main: Path) -> None:
    (main.parent / "main.unfinished").touch()
    told = steps(main.parent, RestoreRequest())
    assert "remove /T/main.unfinished, as the data is whole now" in told


def test_a_tablespace_that_would_find_its_place_taken_is_refused(
    main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = main.parent / "space"
    place.mkdir()
    told = made.info().replace('"error": false', f'"error": false, "tablespace": [{_SPACE}]')
    stands_in = made.Repository(told.replace("PLACE", str(place)), made.segments(0x10, 0x40), {})
    monkeypatch.setattr(pgbackrest, "ask", stands_in.ask)
    assert steps(main.parent, RestoreRequest())
    (place / "PG_15_202209061").mkdir()
    with pytest.raises(Refused, match=rf"'fast' .* goes to {place}, which is not an empty"):
        steps(main.parent, RestoreRequest())


_SPACE = '{"name": "fast", "destination": "PLACE", "oid": 16400}'
