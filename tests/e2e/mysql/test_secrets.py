"""No secret is seen where somebody else may look, whatever is run and however much it tells."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import pytest

from lab import fleet
from tests.e2e import spying
from tests.e2e.mysql.hosts import Site

_PASSWORDS = (
    "mysql_replication", "mysql_binlog", "mysql_backup", "mysql_flights_owner",
    "mysql_flights_writer",
)  # fmt: skip
_LOUD = ("-vvv", "--diff")
_MEMBER = spying.shown({"client": "mysql", "host": "mysql"})
_SHOWN = {
    "mysql1": _MEMBER,
    "mysql2": _MEMBER,
    "backup3": spying.shown({"client": "dbops-repository"}),
    "drill3": [],
}
# MariaDB keeps the password of a replica's link in plain, in a folder that is closed to others.
_LINK = "/var/lib/mysql/main/master.info 660 mysql:mysql"


@dataclass
class Seen:
    """Everything that was said while the secrets were in use."""

    since: float = field(default_factory=time.time)
    outputs: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    command_lines: str = ""


def _note(site: Site, seen: Seen) -> None:
    stage = len(seen.words)
    for name in (*_PASSWORDS, "mysql_cipher"):
        seen.words[f"{name} {stage}"] = (site.secrets / name).read_text().strip()


def _log_in(site: Site) -> None:
    for user in ("flights_owner", "flights_writer"):
        site.connect(user).close()


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Set, use and rotate secrets, everything as loud as it gets."""
    site.heal()
    seen = Seen()
    try:
        with spying.watching(tmp_path_factory.mktemp("seen")) as lines:
            _everything(site, seen)
    except BaseException:
        site.run_play("site", ok=False)  # or the rest of the session would have no way in
        raise
    seen.command_lines = lines.read_text(errors="replace")
    return seen


def _everything(site: Site, seen: Seen) -> None:
    _note(site, seen)
    for name in _PASSWORDS:
        (site.secrets / name).write_text(f"canary{secrets.token_hex(12)}\n")
    _note(site, seen)
    seen.outputs["site"] = site.run_play("site", *_LOUD).output
    _log_in(site)
    site.wait_whole()
    done = site.take("full")
    seen.outputs["backup"] = done.stdout + done.stderr
    seen.outputs["rotate"] = site.run_play("rotate", *_LOUD).output
    _note(site, seen)
    assert len(set(seen.words.values())) == 3 * len(_PASSWORDS) + 1
    _log_in(site)
    site.wait_whole()


def test_nothing_printed_holds_a_secret(seen: Seen) -> None:
    for name, output in seen.outputs.items():
        assert output, name
        assert spying.lines_with(output, seen.words.values()) == [], name
        assert "PRIVATE KEY" not in output, name


def test_no_command_line_held_a_secret(seen: Seen) -> None:
    for words in ("ansible-playbook", "mariadb-backup", "mariadb-binlog"):
        assert words in seen.command_lines, f"the sampler saw no {words}"
    assert spying.lines_with(seen.command_lines, seen.words.values()) == []


@pytest.mark.parametrize("host", fleet.FLEETS["mysql"])
def test_no_file_journal_or_log_of_a_host_shows_a_secret(site: Site, seen: Seen, host: str) -> None:
    words = [*seen.words.values(), *spying.keys(site, host)]
    files, logs = spying.on_host(site, host, words)
    assert [file for file in files if file != _LINK] == _SHOWN[host]
    assert logs == []


def test_no_binary_log_holds_a_plain_password(site: Site, seen: Seen) -> None:
    for host in site.members:
        for word in seen.words.values():
            found = site.root(host, f"grep -l {word} /var/lib/mysql/main/binlog.* || true")
            assert found == "", f"{host}: {found}"
