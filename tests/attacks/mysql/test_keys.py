"""A host says more than its public key, and wants a line of its own in another host's file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.hosts import wait
from tests.e2e.mysql.hosts import CLUSTER, Site

STREAM = f"/etc/dbops/secrets/mysql-{CLUSTER}-stream.ssh.pub"
READER = "/etc/dbops/secrets/repository.ssh.pub"
LETS_IN = "cat /etc/dbops/repository_readers /etc/dbops/readers/* 2>/dev/null || true"


@pytest.fixture
def evil(tmp_path: Path) -> str:
    """A public key of the attacker's, two words."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "evil")]
    subprocess.run(argv, check=True)
    return " ".join((tmp_path / "evil.pub").read_text().split()[:2])


@contextmanager
def keeping(site: Site, host: str, account: str, file: str, lines: str) -> Iterator[None]:
    """Have ``account`` on ``host`` put ``lines`` below the key in ``file`` again and again."""
    mark = lines.splitlines()[0]
    loop = f"while sleep 0.02; do grep -qF '{mark}' {file} || echo '{lines}' >> {file}; done"
    unit = "attack-key"
    site.root(
        host,
        f"cp -a {file} /run/{unit}.pub; cat > /run/{unit}.sh <<'END'\n{loop}\nEND\n"
        f"systemd-run --quiet --unit={unit} --uid={account} /bin/sh /run/{unit}.sh",
    )
    try:
        wait(lambda: mark in site.root(host, f"cat {file}"), 10, "the line is in the file")
        yield
    finally:
        site.root(host, f"systemctl stop {unit}; rm /run/{unit}.sh; mv /run/{unit}.pub {file}")


def test_the_repositorys_account_gets_no_line_of_its_own_on_a_member(site: Site, evil: str) -> None:
    """As dbops-repository on the repository host, which owns the public key's file."""
    with keeping(site, "backup3", "dbops-repository", STREAM, evil):
        play = site.run_play("backup", ok=False)
        for member in site.members:
            lines = site.root(member, "cat /etc/ssh/dbops-stream.keys").splitlines()
            assert len(lines) == 1
            assert lines[0].startswith("restrict,from=")
            assert evil not in lines[0]
    assert play.status != 0
    assert "What backup3 gives as a public key" in play.said
    site.run_play("backup")
    site.converged("backup")


def test_a_member_lets_nobody_else_read_the_repository(site: Site, evil: str) -> None:
    """As root on a member: a reader's line, and the mark of a block, below its own key."""
    lines = f"restrict {evil}\n# BEGIN mysql {CLUSTER}"
    with keeping(site, "mysql2", "root", READER, lines):
        play = site.run_play("backup", ok=False)
        assert evil not in site.root("backup3", LETS_IN)
    assert play.status != 0
    assert "What mysql2 gives as a public key" in play.said
    site.run_play("backup")
    assert evil not in site.root("backup3", LETS_IN)
    site.converged("backup")


def test_what_was_smuggled_in_before_goes(site: Site, evil: str) -> None:
    """A line that is in the files already, by an attack on an earlier version."""
    site.root(
        "backup3",
        f"for file in /etc/dbops/repository_readers /etc/dbops/readers/mysql-{CLUSTER}; do "
        f"if [ -e $file ]; then echo 'restrict {evil} mysql2' >> $file; fi; done",
    )
    assert evil in site.root("backup3", LETS_IN)
    site.run_play("backup")
    assert evil not in site.root("backup3", LETS_IN)
