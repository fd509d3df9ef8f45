"""The command line: who is asked, what is refused, what it ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest

from dbops import cli, lock, runner
from dbops.commands import options
from dbops.commands.docs import exit_statuses
from dbops.errors import ConfigError, DbopsError
from tests.conftest import WriteTarget

Capture = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return cli.run(list(arguments))


def test_help_teaches(capsys: Capture) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert "Exit statuses" in text
    assert "Start here" in text


def test_every_leaf_has_examples() -> None:
    from dbops.commands.docs import walk

    for path, command in walk(cli.cli):
        if not isinstance(command, click.Group):
            assert "Example" in (command.help or ""), path
            assert path in (command.help or ""), f"{path}: its examples do not show it"


def test_exit_statuses_are_distinct() -> None:
    statuses = [status for status, _ in exit_statuses()]
    assert len(statuses) == len(set(statuses))
    assert {error.exit_status for error in DbopsError.__subclasses__()} <= set(statuses)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["backup"],
        ["backup", "take", "--type", "weekly"],
        ["check", "--unknown"],
        ["check", "--cluster"],
        ["play"],
    ],
)
def test_usage_is_one_sentence(arguments: list[str], capsys: Capture) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    if arguments != ["backup"]:
        assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error


def test_no_target_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("DBOPS_TARGETS_DIR", str(tmp_path / "none"))
    assert run("backup", "list") == 2
    assert "No target in" in capsys.readouterr().err


def test_the_only_target_is_meant_and_two_are_not(
    write_target: WriteTarget, capsys: Capture
) -> None:
    write_target("flights")
    assert run("backup", "list") == 0
    write_target("hotels")
    assert run("backup", "list") == 2
    assert "flights, hotels" in capsys.readouterr().err
    assert run("backup", "list", "--cluster", "hotels") == 0
    assert run("check") == 0
    assert "hotels: server: OK" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../etc/x", "a;touch x", "$(id)", "-rf", "'", "a\nb", "é", ""])
def test_hostile_cluster_names_are_refused(
    name: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run("backup", "list", f"--cluster={name}") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["../../etc/x", "-rf", "a\nb", "..", "a\\b", "", "\x1b[2J"])
def test_hostile_backup_ids_are_refused(
    name: str, write_target: WriteTarget, capsys: Capture
) -> None:
    write_target()
    assert run("restore", "run", f"--backup-id={name}", "--confirm", "flights") == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "\x1b" not in error


def test_restore_needs_the_exact_name(write_target: WriteTarget, capsys: Capture) -> None:
    target = write_target()
    for wrong in ("flight", "Flights", "flights ", ""):
        assert run("restore", "run", "--confirm", wrong) == 7
    assert run("restore", "run") == 7
    assert "--confirm flights" in capsys.readouterr().err
    assert not (target.state_dir / "restored").exists()
    assert run("restore", "run", "--confirm", "flights") == 0
    assert (target.state_dir / "restored").exists()


def test_dry_run_changes_nothing(write_target: WriteTarget, capsys: Capture) -> None:
    target = write_target()
    assert run("restore", "run", "--dry-run") == 0
    assert "1. fetch the log" in capsys.readouterr().out
    assert not target.state_dir.exists()


def test_restore_ends_at_one_point(write_target: WriteTarget) -> None:
    write_target()
    assert run("restore", "run", "--point", "1", "--name", "x", "--dry-run") == 2


@pytest.mark.parametrize(
    "text", ["now", "2026-05-01", "2026-05-01T12:00:00", "2026-13-01T00:00:00Z", "", "12:00Z"]
)
def test_times_without_zone_or_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        options.parse_time(text)


def test_times_become_utc() -> None:
    assert options.parse_time("2026-05-01T12:00:00+02:00").isoformat() == (
        "2026-05-01T10:00:00+00:00"
    )
    assert options.parse_time("2026-05-01T12:00:00Z").hour == 12


def test_two_at_once_is_busy(write_target: WriteTarget, capsys: Capture) -> None:
    target = write_target()
    with lock.hold(target, "backup"):
        assert run("backup", "take") == 8
    assert str(os.getpid()) in capsys.readouterr().err
    assert run("backup", "take") == 0


def test_the_unexpected_shows_no_traceback(
    write_target: WriteTarget, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_target()
    secret = runner.register_secret("canary-5f1d")

    def fail(*arguments: object) -> None:
        raise ValueError(f"password {secret}\nsecond line")

    monkeypatch.setattr("dbops.commands.options.ability", fail)
    assert run("backup", "list") == 1
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "DBOPS_DEBUG=1" in error
    assert secret not in error
    monkeypatch.setenv("DBOPS_DEBUG", "1")
    run("backup", "list")
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert secret not in error


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (click.Abort(), 130)])
def test_interruption(
    error: BaseException,
    status: int,
    write_target: WriteTarget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_target()

    def interrupt(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("dbops.commands.options.ability", interrupt)
    assert run("backup", "list") == status


def test_one_bad_target_does_not_hide_the_others(
    write_target: WriteTarget, capsys: Capture
) -> None:
    write_target("flights")
    write_target("hotels")
    (options.targets_dir() / "hotels.json").chmod(0o644)
    assert run("check", "--json") == 6
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found if not one["ok"]] == ["target file"]
    assert {one["cluster"] for one in found} == {"flights", "hotels"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: Capture) -> None:
    assert run("completion", shell) == 0
    assert "_DBOPS_COMPLETE" in capsys.readouterr().out
