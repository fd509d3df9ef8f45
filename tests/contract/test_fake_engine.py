"""The fake engine goes through every command: no command knows an engine by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dbops import cli
from dbops.commands.docs import walk
from tests.conftest import WriteTarget

Capture = pytest.CaptureFixture[str]

JSON_COMMANDS = [
    "engines",
    "status",
    "check",
    "audit",
    "backup take --type incremental",
    "backup list",
    "backup verify",
    "restore run --confirm flights",
    "restore run --dry-run",
    "restore discard --confirm flights",
    "drill run",
    "drill history",
    "fingerprint",
    "migrate prepare",
    "migrate start --dry-run",
    "migrate switch --confirm flights",
    "migrate status",
]
TABLE_COMMANDS = [
    *JSON_COMMANDS,
    "audit --metrics",
    "backup take --dry-run",
    "backup take --no-fingerprint --type log",
    "backup expire --dry-run",
    "backup expire --backup-id B1 --confirm flights",
    "restore discard --dry-run",
    "restore salvage",
    "drill run --dry-run",
    "drill report --output -",
    "migrate start",
    "migrate prove",
    "migrate follow",
    "migrate finish --confirm flights",
]


def run(line: str) -> int:
    return cli.run(line.split())


@pytest.mark.parametrize("line", TABLE_COMMANDS)
def test_every_command_speaks_to_people(
    line: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run(line) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("line", JSON_COMMANDS)
def test_every_command_speaks_to_programs(
    line: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run(f"{line} --json") == 0, capsys.readouterr().err
    json.loads(capsys.readouterr().out)


def test_no_command_is_forgotten_here() -> None:
    elsewhere = {"heartbeat", "exporter", "fleet status", "play", "completion"}
    tried = {" ".join(line.split(" -")[0].split()) for line in TABLE_COMMANDS}
    leaves = {
        path.removeprefix("dbops ")
        for path, command in walk(cli.cli)
        if not hasattr(command, "commands")
    }
    assert leaves - elsewhere == tried


@pytest.mark.parametrize(
    "line",
    [
        "check",
        "audit",
        "backup take",
        "backup list",
        "backup verify",
        "backup expire",
        "restore run",
        "restore discard",
        "drill run",
        "fingerprint",
        "heartbeat",
        "migrate start",
        "migrate status",
    ],
)
def test_an_engine_that_cannot_says_so(
    line: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target(engine="bare")
    assert run(line) == 3
    assert "Bare has no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("check", "1 of 3 checks failed"),
        ("audit", "FK-01"),
        ("backup verify", "base/1"),
        ("drill run", "expected 7, found 6"),
    ],
)
def test_what_is_not_proven_ends_with_six(
    line: str, words: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target(options={"broken": True})
    assert run(line) == 6
    assert words in capsys.readouterr().err


def test_a_failed_drill_is_recorded(write_target: WriteTarget, capsys: Capture) -> None:
    write_target(options={"broken": True})
    run("drill run")
    capsys.readouterr()
    assert run("drill history --json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [one["proven"] for one in found] == [False]


def test_support_table_lists_both(fakes: None, capsys: Capture) -> None:
    assert run("engines --json") == 0
    by_name = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert by_name["fake"]["drill"] is True
    assert by_name["bare"]["drill"] is False
    assert by_name["fake"]["migrate"] is True
    assert by_name["bare"]["migrate"] is False


@pytest.mark.parametrize("step", ["switch", "finish"])
def test_steps_that_cannot_be_taken_back_ask_for_the_name(
    step: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run(f"migrate {step}") == 7
    assert run(f"migrate {step} --confirm other") == 7
    assert "'other' is not the name" in capsys.readouterr().err


def test_fingerprint_compares(write_target: WriteTarget, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "before.json"
    write_target()
    assert run(f"fingerprint --output {file}") == 0
    assert run(f"fingerprint --compare {file}") == 0
    write_target(options={"rows": 8})
    assert run(f"fingerprint --compare {file}") == 6
    assert "1 places" in capsys.readouterr().err


def test_what_a_person_says_of_a_backup_is_in_its_manifest(
    write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run("backup take --accept-smaller --automatic --json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["accepted"], said["automatic"]) == (True, True)
    assert run("backup take --json") == 0
    assert json.loads(capsys.readouterr().out).keys().isdisjoint({"accepted", "automatic"})
    for option in ("--accept-smaller", "--automatic"):
        assert run(f"backup take --type log {option}") == 2
        assert f"{option} goes with full backups only" in capsys.readouterr().err


@pytest.mark.parametrize(("gaps", "words"), [(1, ""), (9, ", nor in 4 older gaps")])
def test_the_list_names_gaps_and_doubts(
    write_target: WriteTarget, capsys: Capture, gaps: int, words: str
) -> None:
    write_target(options={"gaps": gaps, "broken": True})
    assert run("backup list") == 0
    told = capsys.readouterr().out
    assert "Can be restored to any time from" in told
    gap = "2026-05-01 12:00:00Z and 2026-05-01 12:05:00Z"
    assert f", but not between {', '.join([gap] * min(gaps, 5))}{words}." in told
    assert "It is small." in told
