"""What restic says, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops.errors import Busy, CommandFailed, ConfigError, DbopsError, Unreachable
from dbops.repository import restic_output
from dbops.repository.restic import Repository
from dbops.runner import Completed

LOCKED = (
    "unable to create lock in backend: repository is already locked exclusively by PID 7 on h by u"
    " (UID 0, GID 0)\nlock was created at 2026-11-25 21:56:33 (1.5s ago)\nstorage ID 2ef6e594\n"
    "the `unlock` command can be used to remove stale locks\n"
)
ABSENT = "Fatal: unable to open config file: stat /x/config: no such file or directory\n"
IN_JSON = '{"message_type":"exit_error","code":1,"message":"Fatal: no space left on device"}\n'


@pytest.mark.parametrize(
    ("stderr", "kind", "words"),
    [
        ("Fatal: wrong password or no key found\n", ConfigError, "The passphrase in /key does not"),
        (LOCKED, Busy, "Another restic keeps the repository"),
        (ABSENT, ConfigError, "There is no repository at"),
        ("ssh: connect to host h port 22: Connection refused\n", Unreachable, "cannot be reached"),
        ("Host key verification failed.\n", Unreachable, "Host key verification failed"),
        (IN_JSON, CommandFailed, "restic backup failed with exit status 1: no space left"),
        ("Fatal: bad\ngithub.com/x\n\t/a.go:3\n", CommandFailed, "exit status 1: bad$"),
        ("", CommandFailed, "it wrote nothing"),
    ],
)
def test_each_failure_is_one_sentence(stderr: str, kind: type[DbopsError], words: str) -> None:
    error = restic_output.failure(Completed(1, "", stderr), "backup", "sftp:u@h:/r", "/key")
    assert isinstance(error, kind)
    assert "\n" not in str(error)
    with pytest.raises(kind, match=words):
        raise error


def test_a_listing_tells_what_it_could_not_read() -> None:
    listed = (
        '[{"time":"2026-11-25T21:51:40.210652933Z","paths":["/b"],"tags":null,"id":"bb"},'
        '{"time":"2026-11-25T21:51:39.4+01:00","paths":["/a"],"tags":["x"],"id":"aa"}]\n'
    )
    said = "could not load snapshot 6b38978b: load <snapshot/6b38978b7f>: invalid data returned\n"
    listing = restic_output.parse_listing(Completed(0, listed, said))
    assert [(s.snapshot_id, s.tags) for s in listing.snapshots] == [("aa", ("x",)), ("bb", ())]
    assert listing.unreadable == ("6b38978b",)
    assert restic_output.parse_listing(Completed(0, "null\n", "")).snapshots == ()
    with pytest.raises(CommandFailed, match="listed no snapshots"):
        restic_output.parse_listing(Completed(0, "{", ""))


def test_progress_is_in_words_and_lines_of_others_pass() -> None:
    said: list[str] = []
    tell = restic_output.reporter(said.append)
    tell('{"message_type":"status","bytes_done":12000000}')
    tell('{"message_type":"status"}')
    tell("[00] completed OK!")
    tell("")
    assert said == ["12 MB stored", "[00] completed OK!"]


def test_ssh_is_strict_and_the_passphrase_on_no_command_line() -> None:
    repo = Repository(
        "sftp:dbops-reader@10.0.0.1:/c/restic",
        Path("/etc/dbops/secrets/key"),
        ssh_key=Path("/etc/a key"),
        known_hosts=Path("/etc/known"),
    )
    command = repo.command("snapshots")
    (ssh,) = [word for word in command.argv if word.startswith("sftp.command=")]
    for part in (
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        "-oIdentitiesOnly=yes",
        "-oUserKnownHostsFile=/etc/known",
        "-i '/etc/a key'",
        "dbops-reader@10.0.0.1 -s sftp",
    ):
        assert part in ssh
    assert command.env["RESTIC_PASSWORD_FILE"] == "/etc/dbops/secrets/key"
    assert "--password-file" not in " ".join(command.argv)
