"""Target files: what is read and what is refused, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbops import runner, targets
from dbops.errors import ConfigError
from tests.conftest import WriteTarget


def test_loads(write_target: WriteTarget) -> None:
    target = write_target()
    assert target.engine == "fake"
    assert target.objectives.rpo_seconds == 60


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "the whole file"),
        ('{"schema_version": 2}', "schema_version"),
        ("\xff\xfe", "not UTF-8|not JSON"),
    ],
)
def test_malformed(text: str, words: str, write_target: WriteTarget, tmp_path: Path) -> None:
    write_target()
    path = tmp_path / "targets" / "flights.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words) as caught:
        targets.load("flights", tmp_path / "targets")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666, 0o604])
def test_open_to_others(mode: int, write_target: WriteTarget, tmp_path: Path) -> None:
    write_target()
    path = tmp_path / "targets" / "flights.json"
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 0640"):
        targets.load("flights", tmp_path / "targets")


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "a b"},
        {"engine": "a.b"},
        {"cluster": "a.b"},
        {"member": "../x"},
        {"member": "a..b"},
        {"member": "a."},
        {"member": ".a"},
        {"member": "a/b"},
        {"member": "a.-b"},
        {"member": "a\n"},
        {"member": ".".join(["a" * 63] * 4) + ".b"},
        {"members": ["pg1", "../x"]},
        {"part": "boss"},
        {"surprise": 1},
        {"objectives": {"rpo_seconds": 0, "rto_seconds": 1}},
    ],
)
def test_wrong_values(changes: dict[str, object], write_target: WriteTarget) -> None:
    with pytest.raises(ConfigError):
        write_target(**changes)


@pytest.mark.parametrize("name", ["pg1", "pg-1.db_a.example.org", "1.2", ".".join(["a" * 63] * 3)])
def test_a_member_is_called_as_its_host(name: str, write_target: WriteTarget) -> None:
    assert write_target(member=name, members=[name]).member == name


def test_unknown_names_the_known(write_target: WriteTarget, tmp_path: Path) -> None:
    write_target()
    with pytest.raises(ConfigError, match="known here: flights"):
        targets.load("hotels", tmp_path / "targets")


def test_secret_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary-secret\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 0600"):
        targets.read_secret(path)
    path.chmod(0o600)
    assert targets.read_secret(path) == "canary-secret"
    assert runner.mask("x canary-secret y") == "x ******** y"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="empty"):
        targets.read_secret(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        targets.read_secret(tmp_path / "absent")
