"""No secret is seen where somebody else may look, whatever is run and however much it tells."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import fleet
from tests.e2e import spying
from tests.e2e.redis.hosts import CLUSTER, Site

_PASSWORDS = (
    "redis_admin", "redis_replication", "redis_sentinel", "redis_monitor", "redis_heartbeat",
    "redis_backup", "redis_flights_writer", "redis_flights_reader",
)  # fmt: skip
_LOUD = ("-vvv", "--diff")
_FOLDER = f"/etc/dbops-redis/{CLUSTER}"
# What a group may read is meant so: keys by their readers, and what the server itself logs in with.
_SHOWN = {
    host: [
        f"{_FOLDER}/rejoin.json 640 root:{group}",
        f"{_FOLDER}/secret.conf 640 root:{group}",
        *spying.shown({"agent": agent, "client": "redis", "host": "redis"}),
    ]
    for host, group, agent in (
        ("redis1", "redis", "dbops"),
        ("redis2", "redis", "dbops"),
        ("backup2", "dbops-repository", "dbops-repository"),
    )
}


@dataclass
class Seen:
    """Everything that was said while the secrets were in use."""

    since: float = field(default_factory=time.time)
    outputs: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    command_lines: str = ""


def _note(site: Site, seen: Seen) -> None:
    seen.words |= {
        (site.secrets / name).read_text().strip() for name in (*_PASSWORDS, "redis_cipher")
    }
    seen.words.add((site.secrets / "pki" / "ca.key").read_text().splitlines()[1])


def _everything(site: Site, seen: Seen) -> None:
    _note(site, seen)
    for name in _PASSWORDS:  # as somebody who edits a vault would
        (site.secrets / name).write_text(f"canary{secrets.token_hex(16)}\n")
    _note(site, seen)
    seen.outputs["site"] = site.run_play("site", *_LOUD).output
    site.wait_whole()
    done = site.take("full")
    seen.outputs["backup"] = done.stdout + done.stderr
    seen.outputs["rotate"] = site.run_play("rotate", *_LOUD).output
    _note(site, seen)
    confirm = ("-e", f"dbops_confirm={CLUSTER}")
    seen.outputs["restore"] = site.run_play("restore", *confirm, *_LOUD).output
    site.wait_whole()
    done = site.dbops(site.drill, "drill", "run", ok=False)
    seen.outputs["drill"] = done.stdout + done.stderr
    for host in site.hosts:
        seen.outputs[f"check on {host}"] = site.dbops(host, "check", ok=False).said
    site.run_play("secure")


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Set, use, rotate and restore with new secrets, everything as loud as it gets."""
    site.heal()
    seen = Seen()
    with spying.watching(tmp_path_factory.mktemp("seen")) as lines:
        _everything(site, seen)
    seen.command_lines = lines.read_text(errors="replace")
    return seen


def test_nothing_printed_holds_a_secret(seen: Seen) -> None:
    for name, output in seen.outputs.items():
        assert output, name
        assert spying.lines_with(output, seen.words) == [], name
        assert "PRIVATE KEY" not in output, name


def test_no_command_line_held_a_secret(seen: Seen) -> None:
    for words in ("ansible-playbook", "restic", "dbops restore run"):
        assert words in seen.command_lines, f"the sampler saw no {words}"
    assert spying.lines_with(seen.command_lines, seen.words) == []


@pytest.mark.parametrize("host", fleet.FLEETS["redis"])
def test_no_file_journal_or_log_of_a_host_shows_a_secret(site: Site, seen: Seen, host: str) -> None:
    files, logs = spying.on_host(site, host, [*seen.words, *spying.keys(site, host)])
    assert files == sorted(_SHOWN.get(host, []))
    assert logs == []


def test_no_file_of_the_controller_shows_a_secret(site: Site, seen: Seen) -> None:
    folders = [site.lab.state, Path.home() / ".ansible", *Path("/tmp").glob("ansible*")]
    assert spying.on_controller(folders, seen.words, seen.since - 1) == []
    for path in site.secrets.rglob("*"):
        if path.is_file() and path.suffix != ".crt":
            assert path.stat().st_mode & 0o077 == 0, path.name
