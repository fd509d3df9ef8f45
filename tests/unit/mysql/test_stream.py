"""What the forced command takes, and what the repository host asks and reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dbops.engines.mysql import backup, options, stream
from dbops.engines.mysql.flavor import MARIADB, MYSQL, Said
from dbops.errors import ConfigError, VerificationFailed
from tests.unit.mysql.made import target

LOG = """[00] 21:54:56 mariabackup: The latest check point (for incremental): '495041530'
[00] MySQL binlog position: filename 'b.3', position '877', GTID of the last change '0-1-19'
[00] 21:54:56 Redo log (from LSN 495041530 to 503958807) was copied.
[00] 21:54:56 completed OK!
The stream is 4711 bytes long"""


def test_a_full_and_an_incremental_backup_are_streamed() -> None:
    full = stream.arguments("full", stream.Given())
    assert full is not None
    assert "--stream=mbstream" in full
    more = stream.arguments("incremental 12345", stream.Given())
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
        "zstd",
        " zstd",
        "full zstd zstd",
        "full zstd -o /etc/passwd",
        "info zstd",
        "full; id",
        "$(id)",
        "sh",
    ],
)
def test_anything_else_is_refused(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", asked)
    for name in ("execve", "posix_spawn"):
        monkeypatch.setattr(f"os.{name}", lambda *words: pytest.fail("it was started"))
    assert stream.main([]) == 64
    assert "Refused" in capsys.readouterr().err


def test_arguments_of_its_own_line_are_not_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "full")
    assert stream.main(["--config"]) == 64
    assert stream.main(["full"]) == 64


def test_the_log_tells_position_and_checkpoint() -> None:
    assert MARIADB.backup_log(LOG.splitlines()) == Said("495041530", "0-1-19", 4711, "b.3", 877)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("completed OK!", "did not end well"),
        ("check point", "redo position"),
        ("GTID", "no GTID"),
        ("bytes", "did not come to its end"),
    ],
)
def test_a_log_that_lacks_something_is_no_backup(missing: str, words: str) -> None:
    lines = [line for line in LOG.splitlines() if missing not in line]
    with pytest.raises(VerificationFailed, match=words):
        MARIADB.backup_log(lines)


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


UUID = "b372c3d5-e938-11f1-808f-2e9daacd4fc4"


def test_mysql_streams_a_dump_with_the_gtid_of_its_snapshot() -> None:
    given = stream.Given(flavor="mysql")
    found = stream.arguments("full", given)
    assert found is not None
    assert {"--single-transaction", "--source-data=2", "--set-gtid-purged=ON"} <= set(found)
    assert "--ignore-table=mysql.slave_master_info" in found
    # No text of users' own is left for a client to take apart.
    left_out = {"--skip-routines", "--skip-triggers", "--skip-events", "--ignore-views"}
    assert left_out | {"--skip-comments"} <= set(found)
    assert stream.arguments("incremental 12345", given) is None


def test_a_dump_is_passed_on_and_its_gtid_and_end_are_seen() -> None:
    text = (
        b"-- MySQL dump\nSET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '" + UUID.encode()
        + b":1-9,\n" + UUID.encode() + b":t:1';\n" + b"x" * 300_000
        + b"\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n"
    )  # fmt: skip
    sink, seen = io.BytesIO(), stream.Passed()
    seen.all(io.BytesIO(text), sink)
    assert sink.getvalue() == text
    assert (seen.position, seen.whole) == (f"{UUID}:1-9,{UUID}:t:1", True)
    assert seen.size == len(text)
    torn = stream.Passed()
    torn.all(io.BytesIO(text[:200_000]), io.BytesIO())
    assert not torn.whole


def test_what_is_said_of_a_dump_is_read() -> None:
    other = f"0{UUID[1:]}"
    lines = [
        f"The dump holds the GTIDs '{UUID}:1-9:t:1'",
        f"The dump holds the GTIDs '{other}:1'",
        "completed OK!",
        "The stream is 4711 bytes long",
    ]
    assert MYSQL.backup_log(lines) == Said("", f"{other}:1-1,{UUID}:1-9,{UUID}:t:1-1", 4711)
    with pytest.raises(VerificationFailed, match="did not end well: error 1045"):
        MYSQL.backup_log(["mysqldump: Got error 1045"])
    with pytest.raises(VerificationFailed, match="names no GTID"):
        MYSQL.backup_log(lines[2:])


def test_each_flavour_has_the_kinds_that_its_tool_makes(tmp_path: Path) -> None:
    def kinds(flavor: str) -> set[str]:
        place = target(tmp_path, flavor=flavor)
        return set(backup.copying(place, options.read(place)).kinds)

    assert kinds("mysql") == {"full"}
    assert kinds("mariadb") == {"full", "incremental"}
