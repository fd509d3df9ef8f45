"""Readers of a restic repository: what a taken-over database host can do to its backups, nothing.

For pgBackRest's repository see ``tests/e2e/pgbackrest``.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.hosts import Site

SSH = (
    "ssh -i /etc/dbops/secrets/repository.ssh -o UserKnownHostsFile={known_hosts} "
    "-o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o BatchMode=yes "
    "-o ConnectTimeout=10"
)


@pytest.fixture(params=["member", "drill"])
def reader(site: Site, request: pytest.FixtureRequest) -> str:
    """Return a host that reads the repository."""
    return site.members[0] if request.param == "member" else site.drill


def pinned(site: Site) -> str:
    """Return the file on a reader that says who the repository is."""
    return f"/etc/dbops/known_hosts/{site.engine}-{site.cluster}"


def ssh(known_hosts: str) -> str:
    return SSH.format(known_hosts=known_hosts)


def address(site: Site, reader: str) -> str:
    """Return whom the reader logs in as, and where."""
    host = site.root(reader, f"awk '{{print $1; exit}}' {pinned(site)}")
    return f"dbops-reader@{host}"


def restic(site: Site, reader: str, words: str) -> str:
    """Return what restic says on a reader, as root there and without dbops in between.

    It tries a refused write again for minutes, and tells of each attempt: the first will do. It is
    asked again while the minute's log backup has the repository locked, which is no answer.
    """
    deadline = time.monotonic() + 60
    while "already locked" in (said := _restic(site, reader, words)):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    return said


def _restic(site: Site, reader: str, words: str) -> str:
    there = address(site, reader)
    key = f"/etc/dbops/secrets/{site.engine}-{site.cluster}-repository.key"
    return site.root(
        reader,
        f"export HOME=/root RESTIC_PASSWORD_FILE={key}; timeout 8 restic --no-cache "
        f"-r sftp:{there}:/{site.cluster}/restic "
        f"-o sftp.command='{ssh(pinned(site))} {there} -s sftp' {words} 2>&1",
        ok=False,
    )


def sftp(site: Site, reader: str, line: str) -> str:
    """Return what sftp says to one line of its own on a reader."""
    there = address(site, reader)
    sftp_itself = ssh(pinned(site)).replace("ssh ", "sftp -b - ", 1)
    return site.root(reader, f"echo '{line}' | {sftp_itself} {there} 2>&1", ok=False)


def snapshots(site: Site) -> str:
    folder = f"/var/lib/dbops-repository/{site.cluster}/restic"
    return site.root(site.repository, f"find {folder}/config {folder}/keys {folder}/snapshots")


def test_it_reads_and_cannot_write_or_delete(site: Site, reader: str) -> None:
    before = snapshots(site)
    assert "snapshots" in restic(site, reader, "snapshots --no-lock")
    for words in ("backup --stdin </dev/null", "forget latest", "unlock --remove-all", "prune"):
        said = restic(site, reader, words).lower()
        # Nothing to unlock is no fault: that one only must not have removed anything.
        assert "permission denied" in said or words.startswith("unlock"), said
    config = f"/{site.cluster}/restic/config"
    for line in (
        f"rm {config}",
        f"rename {config} {config}2",
        f"chmod 777 {config}",
        f"put /etc/hostname {config}2",
        f"mkdir /{site.cluster}/restic/x",
        "put /etc/hostname /x",
    ):
        assert "denied" in sftp(site, reader, line).lower(), line
    left = snapshots(site).splitlines()
    assert set(before.splitlines()) <= set(left)
    assert f"{config}2" not in " ".join(left)


def test_it_sees_nothing_but_backups(site: Site, reader: str) -> None:
    assert "not found" in sftp(site, reader, "ls /etc/passwd")
    assert f"/{site.cluster}" in sftp(site, reader, "ls /")
    seen = sftp(site, reader, f"ls -1 /{site.cluster}/*").splitlines()
    folders = {line.split("/")[2] for line in seen if line.startswith(f"/{site.cluster}/")}
    for folder in folders - {"restic"}:
        assert "denied" in sftp(site, reader, f"ls /{site.cluster}/{folder}/").lower(), folder


def test_it_cannot_log_in_or_forward(site: Site, reader: str) -> None:
    there = address(site, reader)
    said = site.root(reader, f"timeout 20 {ssh(pinned(site))} {there} id 2>&1", ok=False)
    assert "sftp connections only" in said
    assert "uid=" not in said
    other = there.replace("dbops-reader", "dbops-repository")
    assert "denied" in site.root(reader, f"{ssh(pinned(site))} {other} id 2>&1", ok=False)
    tunnel = f"timeout 20 {ssh(pinned(site))} -W 127.0.0.1:22 {there} </dev/null 2>&1"
    assert "administratively prohibited" in site.root(reader, tunnel, ok=False)


def test_it_refuses_another_repository_host(site: Site, reader: str) -> None:
    there = address(site, reader)
    false = f"sed 's/[A-Za-z0-9+/]\\{{5\\}}$/aaaaa/' {pinned(site)} >/run/false_hosts"
    said = site.root(
        reader, f"{false}; {ssh('/run/false_hosts')} {there} -s sftp 2>&1; rm /run/false_hosts",
        ok=False,
    )  # fmt: skip
    assert "Host key verification failed" in said
