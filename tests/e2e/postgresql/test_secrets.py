"""No secret is seen where somebody else may look, whatever is run and however much it tells."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from lab import faults, fleet
from tests.e2e import spying
from tests.e2e.postgresql.hosts import CLUSTER, Site

_PASSWORDS = ("replication", "backup", "flights_owner", "flights_writer")
_LOUD = ("-vvv", "--diff")
# What a group may read is meant so: each key by its reader.
_MEMBER = spying.shown({"client": "postgres", "host": "postgres"})
_SHOWN = {
    "pg1": _MEMBER,
    "pg2": _MEMBER,
    "backup1": spying.shown({"client": "pgbackrest-client", "gate": "pgbackrest-gate"}),
    "drill1": spying.shown({"client": "postgres"}),
}


def _canary(name: str) -> str:
    return f"canary{name.replace('_', '')}{secrets.token_hex(12)}"


@dataclass
class Seen:
    """Everything that was said while the secrets were in use."""

    since: float = field(default_factory=time.time)
    outputs: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    artifacts: Path = Path()
    command_lines: str = ""


def _in_force(site: Site) -> dict[str, str]:
    return {name: (site.secrets / name).read_text().strip() for name in (*_PASSWORDS, "cipher")}


def _plant(site: Site, seen: Seen) -> None:
    """Give every password a new value, as somebody who edits a vault would."""
    for name in _PASSWORDS:
        (site.secrets / name).write_text(_canary(name) + "\n")
    _note(site, seen)


def _note(site: Site, seen: Seen) -> None:
    stage = len(seen.words) // (len(_PASSWORDS) + 1)
    seen.words.update({f"{name} {stage}": value for name, value in _in_force(site).items()})
    key = (site.secrets / "pki" / "ca.key").read_text().splitlines()
    seen.words["key of the authority"] = key[1]


def _log_in(site: Site) -> None:
    for role in ("flights_owner", "flights_writer"):
        with psycopg.connect(site.dsn(role)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def _play_with_artifacts(site: Site, seen: Seen) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dbops")), "play", "secure", "-i",
         str(site.inventory), "--diff", "--keep-artifacts", str(seen.artifacts)],
        cwd=fleet.CHECKOUT, env=site.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen.outputs["dbops play"] = done.stdout + done.stderr


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Set, use, rotate and restore with new secrets, everything as loud as it gets."""
    site.heal()
    folder = tmp_path_factory.mktemp("seen")
    seen = Seen(artifacts=folder / "artifacts")
    try:
        with spying.watching(folder) as lines:
            _everything(site, seen)
    except BaseException:
        site.run_play("site", ok=False)  # or the rest of the session would have no way in
        raise
    seen.command_lines = lines.read_text(errors="replace")
    return seen


def _everything(site: Site, seen: Seen) -> None:
    _note(site, seen)
    _plant(site, seen)
    _play_with_artifacts(site, seen)
    _log_in(site)

    _plant(site, seen)
    # So that the diff has to show the file with the passphrase, or not to.
    site.root("backup1", "echo '# by hand' >> /etc/pgbackrest/pgbackrest.conf")
    play = site.run_play("site", *_LOUD)
    assert any("pgBackRest" in change and "backup1" in change for change in play.changes)
    seen.outputs["site"] = play.output
    _log_in(site)

    done = site.take("full")
    seen.outputs["backup"] = done.stdout + done.stderr

    seen.outputs["rotate"] = site.run_play("rotate", *_LOUD).output
    before = set(seen.words.values())
    _note(site, seen)
    assert len(set(seen.words.values()) - before) == len(_PASSWORDS)
    _log_in(site)

    confirm = ("-e", f"dbops_confirm={CLUSTER}")
    seen.outputs["restore"] = site.run_play("restore", *confirm, *_LOUD).output
    site.wait_whole()
    _log_in(site)
    for host in site.hosts:
        seen.outputs[f"check on {host}"] = site.dbops(host, "check", ok=False).said


def test_nothing_printed_holds_a_secret(seen: Seen) -> None:
    for name, output in seen.outputs.items():
        assert output, name
        assert spying.lines_with(output, seen.words.values()) == [], name
        assert "SCRAM-SHA-256$4096:" not in output, name
        assert "PRIVATE KEY" not in output, name


def test_no_command_line_held_a_secret(seen: Seen) -> None:
    lines = seen.command_lines
    for words in ("ansible-playbook", "archive-push", "pg_basebackup", "dbops restore run"):
        assert words in lines, f"the sampler saw no {words}: it would have seen no secret, either"
    assert spying.lines_with(lines, seen.words.values()) == []


def test_no_artifact_holds_a_secret(seen: Seen) -> None:
    files = [path for path in seen.artifacts.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        text = path.read_text(errors="replace")
        assert spying.lines_with(text, seen.words.values()) == [], path.name
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} may be read by others"


@pytest.mark.parametrize("host", fleet.FLEETS["postgresql"])
def test_no_file_journal_or_log_of_a_host_shows_a_secret(site: Site, seen: Seen, host: str) -> None:
    words = [*seen.words.values(), *spying.keys(site, host)]
    files, logs = spying.on_host(site, host, words)
    assert files == _SHOWN[host]
    assert logs == []


def test_no_file_of_the_controller_shows_a_secret(site: Site, seen: Seen) -> None:
    folders = [site.lab.state, Path.home() / ".ansible", fleet.CHECKOUT / ".ansible",
               *Path("/tmp").glob("ansible*"), *Path("/tmp").glob("dbops*")]  # fmt: skip
    found = spying.on_controller(folders, seen.words.values(), seen.since - 1)
    assert found == []
    for path in site.secrets.rglob("*"):
        if path.is_file() and path.suffix != ".crt":
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_the_search_would_find_one(site: Site, tmp_path: Path) -> None:
    """A reader that finds nothing anywhere proves nothing: let it find what was put there."""
    canary = _canary("planted")
    with spying.watching(tmp_path) as lines:
        faults.on(site.lab, "pg1", f"sleep 0.03; bash -c 'sleep 0.03; true' {canary}")
    assert spying.lines_with(lines.read_text(errors="replace"), [canary])
    coded = (
        "x"
        + subprocess.run(
            ["base64", "-w0"],
            input=f"password={canary}",
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert spying.lines_with(coded, [canary])
    plants = (
        f"echo {canary} > /etc/dbops/planted; chmod 0640 /etc/dbops/planted; "
        f"echo {canary} > /run/planted; chmod 0604 /run/planted; "
        f"echo {canary} > /root/planted; chmod 0600 /root/planted; "
        f"echo {canary} >> /var/log/planted; chmod 0600 /var/log/planted; "
        f"systemd-cat -t planted echo {canary}"
    )
    try:
        site.root("pg1", plants)
        time.sleep(0.5)
        files, logs = spying.on_host(site, "pg1", [canary])
        assert files == ["/etc/dbops/planted 640 root:root", "/run/planted 604 root:root"]
        assert any(line.startswith("MESSAGE=") and canary in line for line in logs)
        assert "/var/log/planted" in logs
    finally:
        site.root("pg1", "rm -f /etc/dbops/planted /run/planted /root/planted /var/log/planted")
    loose = tmp_path / "loose"
    loose.write_text(canary)
    loose.chmod(0o644)
    assert spying.on_controller([tmp_path], [canary], time.time() - 60) == [str(loose)]
    loose.chmod(0o600)
    assert spying.on_controller([tmp_path], [canary], time.time() - 60) == []
