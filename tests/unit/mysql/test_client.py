"""Option files, quoting and the words of errors."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from dbops import runner
from dbops.engines.mysql import client
from dbops.errors import ConfigError, Unreachable


def option_file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "file.cnf"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_option_file_is_read_and_its_password_masked(tmp_path: Path) -> None:
    text = '[client]\nuser=u\npassword="s\\"3cr\\\\t"\nssl-ca=/ca\nssl_cert=/c\nssl-key=/k\n'
    found = client.credentials(option_file(tmp_path, text))
    assert (found.user, found.password) == ("u", 's"3cr\\t')
    assert (found.ca, found.certificate, found.key) == (Path("/ca"), Path("/c"), Path("/k"))
    assert 's"3cr' not in runner.mask(found.password)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("[client]\nuser=u\npassword=p\n", 0o640, "open to others"),
        ("[client]\nuser=u\n", 0o600, "no password"),
        ("[mysqld]\nuser=u\n", 0o600, "no readable"),
        ("user=u\n", 0o600, "no readable"),
    ],
)
def test_a_wrong_option_file_is_refused(tmp_path: Path, text: str, mode: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client.credentials(option_file(tmp_path, text, mode))
    with pytest.raises(ConfigError, match="cannot be read"):
        client.credentials(tmp_path / "absent")


def test_names_are_quoted_whatever_they_hold() -> None:
    assert client.name("a`; DROP TABLE b; --") == "`a``; DROP TABLE b; --`"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            pymysql.err.OperationalError(1045, "Access denied for user 'x'."),
            "Access denied for user 'x'",
        ),
        (
            pymysql.err.OperationalError(
                2003, "Can't connect to MySQL server on 'h' ([Errno 111] Connection refused)"
            ),
            "Connection refused",
        ),
        (pymysql.err.InterfaceError("closed\nsecond line"), "closed"),
        (pymysql.err.InterfaceError(), "InterfaceError"),
    ],
)
def test_an_error_is_one_clear_line(error: Exception, words: str) -> None:
    assert client.reason(error) == words


def test_a_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="local socket does not answer as 'root'"):
        client.over(tmp_path / "s.sock")
