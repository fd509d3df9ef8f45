"""What the forced command takes, and what the repository host asks and reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.engines.mysql import backup, options, stream
from dbops.errors import ConfigError, VerificationFailed
from tests.unit.mysql.made import target

LOG = """[00] 21:54:56 mariabackup: The latest check point (for incremental): '495041530'
[00] MySQL binlog position: filename 'b.3', position '877', GTID of the last change '0-1-19'
[00] 21:54:56 Redo log (from LSN 495041530 to 503958807) was copied.
[00] 21:54:56 completed OK!"""


def test_a_full_and_an_incremental_backup_are_streamed() -> None:
    full = stream.arguments("full", Path("/etc/mysql/dbops.cnf"), "mysql")
    assert full is not None
    assert "--stream=mbstream" in full
    more = stream.arguments("incremental 12345", Path("/etc/mysql/dbops.cnf"), "mysql")
    assert more == (*full, "--incremental-lsn=12345")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "full ",
        "Full",
        "full\n",
        "incremental",
        "incremental 0",
        "incremental -1",
        "incremental 1 --user=root",
        "incremental 1\n--socket=/x",
        "incremental " + "9" * 30,
        "--version",
        "full; id",
        "$(id)",
        "sh",
    ],
)
def test_anything_else_is_refused(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", asked)
    monkeypatch.setattr("os.execve", lambda *words: pytest.fail("it was started"))
    assert stream.main([]) == 64
    assert "Refused" in capsys.readouterr().err


def test_arguments_of_its_own_line_are_not_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "full")
    assert stream.main(["--config"]) == 64
    assert stream.main(["full"]) == 64


def test_the_log_tells_position_and_checkpoint() -> None:
    assert backup.read_log(LOG.splitlines()) == backup.Said("495041530", "0-1-19")


@pytest.mark.parametrize(
    ("missing", "words"),
    [("completed OK!", "did not end well"), ("check point", "redo position"), ("GTID", "no GTID")],
)
def test_a_log_that_lacks_something_is_no_backup(missing: str, words: str) -> None:
    lines = [line for line in LOG.splitlines() if missing not in line]
    with pytest.raises(VerificationFailed, match=words):
        backup.read_log(lines)


def test_the_call_verifies_the_host_and_names_the_key(tmp_path: Path) -> None:
    found = options.read(
        target(tmp_path, stream_key="/k", stream_known_hosts="/known", repo_user="r")
    )
    argv = backup.command(found, "m2", "full").argv
    assert argv[-2:] == ("dbops-stream@10.0.0.2", "full")
    assert "-oStrictHostKeyChecking=yes" in argv
    assert "-oUserKnownHostsFile=/known" in argv
    with pytest.raises(ConfigError, match="No member"):
        backup.command(found, "elsewhere", "full")


def test_an_option_of_another_part_is_asked_for_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="repository host"):
        options.read(target(tmp_path, "drill")).require("stream_key")
    assert options.read(target(tmp_path, "drill")).scratch_dir is not None
    with pytest.raises(ConfigError, match="Extra inputs"):
        options.read(target(tmp_path, "drill", misspelt=1))


def test_a_flavor_that_is_not_operated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mysql' is not operated yet"):
        options.read(target(tmp_path, "drill", flavor="mysql"))
