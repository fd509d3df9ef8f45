"""What pgBackRest prints, and its errors in one sentence. The texts were recorded from 2.45."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbops.engines.postgresql import options, pgbackrest
from dbops.errors import Busy, CommandFailed, ConfigError, DbopsError, Unreachable
from dbops.runner import Completed
from tests.unit.postgresql import made

SOUND = """\
P00   INFO: verify command begin 2.45: --stanza=flights --verbose
P00   INFO: stanza: flights
            status: ok
              archiveId: 15-1, total WAL checked: 84, total valid WAL: 84
stanza: flights
status: ok
  archiveId: 15-1, total WAL checked: 84, total valid WAL: 84
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261122-135626F, status: valid, total files checked: 1278, total valid files: 1278
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
P00   INFO: verify command end: completed successfully (661ms)
"""
FLIPPED = """\
P00   INFO: verify command begin 2.45: --stanza=flights --verbose
P02   INFO: invalid checksum '20261122-135626F/pg_data/base/16389/16417.zst'
stanza: flights
status: error
  archiveId: 15-1, total WAL checked: 84, total valid WAL: 84
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261122-135626F, status: invalid, total files checked: 1278, total valid files: 1277
    missing: 0, checksum invalid: 1, size invalid: 0, other: 0
P00   INFO: verify command end: completed successfully (661ms)
"""
WRONG_PASSPHRASE = """\
stanza: flights
status: error
  No usable backup.info file
  No usable archive.info file
"""


def test_a_sound_repository_has_no_problems() -> None:
    files, problems = pgbackrest.parse_verify(SOUND)
    assert problems == ()
    assert files >= 84 + 1278


def test_a_flipped_bit_is_named_though_verify_ends_well() -> None:
    _, problems = pgbackrest.parse_verify(FLIPPED)
    assert problems == ("invalid checksum '20261122-135626F/pg_data/base/16389/16417.zst'",)


@pytest.mark.parametrize(
    "line",
    [
        "P01   INFO: file missing '20261122-135626F/pg_data/base/1/112.zst'",
        "P02   INFO: invalid result 15-1/0000000100000000/000000010000000000000052-efc9.zst: [95]",
        "P00   WARN: something never seen before",
    ],
)
def test_every_unknown_line_is_a_problem(line: str) -> None:
    _, problems = pgbackrest.parse_verify(f"{line}\n{SOUND}")
    assert len(problems) == 1


@pytest.mark.parametrize("text", ["", "stanza: flights\n", "status: error\n", WRONG_PASSPHRASE])
def test_without_a_clear_verdict_there_is_a_problem(text: str) -> None:
    assert pgbackrest.parse_verify(text)[1]


def test_counts_without_a_named_file_are_a_problem() -> None:
    text = "\n".join(line for line in FLIPPED.splitlines() if "invalid checksum" not in line)
    assert pgbackrest.parse_verify(text)[1] == ("backup 20261122-135626F is invalid",)


def test_info_is_read() -> None:
    stanza = pgbackrest.parse_info(made.info(), "flights")
    assert [b.kind for b in stanza.backups] == ["full", "incremental", "full"]
    assert stanza.encrypted
    assert stanza.system_id == 77
    assert stanza.backups[1].references == (made.FULL,)
    archive = stanza.archive(1)
    assert archive is not None
    assert archive.archive_id == "15-1"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[{}]", '[{"name": "other"}]'])
def test_an_answer_that_is_not_the_stanza_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed):
        pgbackrest.parse_info(text, "flights")


@pytest.mark.parametrize(
    ("code", "message", "error", "words"),
    [
        (1, "missing stanza path", ConfigError, "no usable stanza"),
        (
            99,
            "[FormatError] unable to load info file '/r/backup.info' or '/r/backup.info.copy':\n"
            "FormatError: key/value found outside of section at line 1: \ufffd\x01:",
            ConfigError,
            "passphrase",
        ),
        (99, "[CryptoError] unable to load info file: cipher header", ConfigError, "passphrase"),
        (
            99,
            "[ProtocolError] expected value '2.45' for greeting key 'version' but got '2.55'",
            ConfigError,
            "versions",
        ),
        (
            99,
            "[HostConnectError] unable to connect to 'backup1:8432 (10.0.0.3)': timeout",
            Unreachable,
            "does not answer",
        ),
    ],
)
def test_info_ends_well_and_still_tells_of_errors(
    code: int, message: str, error: type[DbopsError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        pgbackrest.parse_info(made.info(code=code, message=message), "flights")
    assert "\n" not in str(caught.value)
    assert "\ufffd" not in str(caught.value)


def test_a_held_lock_is_busy() -> None:
    said = "ERROR: [050]: unable to acquire lock on file '/x': Resource temporarily unavailable\n"
    assert isinstance(pgbackrest.failure(Completed(50, "", said), "backup"), Busy)


def test_missing_log_says_where_to_look() -> None:
    said = "ERROR: [082]: WAL segment 0000000100000000000000AB was not archived before the 60000ms"
    error = pgbackrest.failure(Completed(82, "", said), "backup")
    assert isinstance(error, CommandFailed)
    assert "archiver" in str(error)


def test_a_failure_without_words_is_one_sentence() -> None:
    assert "wrote nothing" in str(pgbackrest.failure(Completed(7, "", ""), "info"))


def test_the_command_never_carries_the_passphrase(tmp_path: Path) -> None:
    opts = options.read(made.target(tmp_path))
    command = pgbackrest.command(opts, "backup", "--type=full")
    assert command.argv[0] == "pgbackrest"
    assert not any("cipher" in argument for argument in command.argv)
    assert json.dumps(command.argv).count("log-level-console") == 1


def test_a_stop_file_is_blamed_on_the_host_that_has_it() -> None:
    here = pgbackrest.explain(62, "stop file exists for stanza flights", "backup")
    assert str(here).startswith("pgBackRest was stopped by hand on this host: stop file exists")
    text = "raised from remote-0 tls protocol on 'backup1': stop file exists for all stanzas"
    assert "stopped by hand on backup1" in str(pgbackrest.explain(62, text, "archive-push"))
    assert here.exit_status == 5
