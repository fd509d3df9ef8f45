"""Whoever the gate lets in reads what it serves, adds log, and gets nothing else of the host."""

from __future__ import annotations

import pytest

from tests.attacks.postgresql import pgbackrest
from tests.e2e.postgresql.hosts import CLUSTER, Site

_KEPT = (
    "etc/dbops/tls/gate.key",
    "etc/dbops/tls/client.key",
    "etc/dbops/tls/host.key",
    "run/pgbackrest-key/server.key",
    "proc/self/maps",
    "proc/self/environ",
    "dev/shm/rt",
    "etc/hostname",
    "var/lib/pgbackrest/backup/rt",
)


def _intruders(site: Site) -> list[str]:
    return [host for host in site.hosts if host not in (site.repository, site.primary())]


def test_no_path_leads_to_a_key_or_a_setting(site: Site) -> None:
    site.root("backup1", "echo precious > /dev/shm/rt; chmod 0666 /dev/shm/rt")
    for host in _intruders(site):
        inside = {"repo1-path": "/var/lib/pgbackrest"}
        known = f"--raw repo-get archive/{CLUSTER}/archive.info"
        assert pgbackrest.run(site, host, "postgres", inside, known).status == 0
        for path in _KEPT:
            folder, _, name = path.rpartition("/")
            for top, rest in (("/", path), (f"/{folder}", name)):
                line = f"--raw repo-get {rest}"
                done = pgbackrest.run(site, host, "postgres", {"repo1-path": top}, line)
                assert done.status != 0, f"{host} was given /{path}: {done.said[:300]}"
        line = "--raw repo-get etc/pgbackrest/pgbackrest.conf | grep -q cipher-pass"
        assert pgbackrest.run(site, host, "postgres", {"repo1-path": "/"}, line).status != 0
    site.root("backup1", "rm /dev/shm/rt")


@pytest.mark.parametrize(
    "path",
    [
        f"run/pgbackrest/{CLUSTER}.stop",
        "run/pgbackrest/all.stop",
        "run/pgbackrest-key/server.key",
        "run/rt",
        f"var/log/pgbackrest/{CLUSTER}-expire.log",
        f"var/lib/pgbackrest/backup/{CLUSTER}/rt",
        "var/lib/pgbackrest/rt",
        "var/lib/pgbackrest/archive/rt",
        "tmp/rt",
        "var/tmp/rt",
        "dev/shm/rt",
    ],
)
def test_nothing_is_written_outside_the_archive(site: Site, path: str) -> None:
    line = f"--raw repo-put {path} < /dev/null"
    for host in _intruders(site):
        before = site.root("backup1", f"ls -ld --time-style=full-iso /{path} 2>/dev/null || true")
        done = pgbackrest.run(site, host, "postgres", {"repo1-path": "/"}, line)
        after = site.root("backup1", f"ls -ld --time-style=full-iso /{path} 2>/dev/null || true")
        if not before:
            site.root("backup1", f"rm -f /{path}")
        assert done.status != 0, f"{host} wrote /{path}"
        assert after == before


def test_a_stop_file_stops_neither_archiving_nor_backups(site: Site) -> None:
    standby = site.replica()
    try:
        for name in (CLUSTER, "all"):
            line = f"--raw repo-put run/pgbackrest/{name}.stop < /dev/null"
            pgbackrest.run(site, standby, "postgres", {"repo1-path": "/"}, line)
        site.wait_archived()
        site.take("incremental")
    finally:
        site.root("backup1", "rm -f /run/pgbackrest/*.stop")


def test_a_stop_file_is_told_by_its_host_and_by_a_check(site: Site) -> None:
    site.root("backup1", f"touch /run/pgbackrest/{CLUSTER}.stop")
    try:
        said = site.dbops("backup1", "backup", "take", "--type", "incremental", ok=False)
        (found,) = [
            one for one in site.checks("backup1") if one["name"] == "pgBackRest is not stopped"
        ]
    finally:
        site.root("backup1", f"rm /run/pgbackrest/{CLUSTER}.stop")
    assert said.status == 5
    assert "pgBackRest was stopped by hand on this host: stop file exists" in said.said
    assert not found["ok"]
    assert f"/run/pgbackrest/{CLUSTER}.stop" in found["detail"]


def test_the_gates_own_account_leads_nobody_astray(site: Site) -> None:
    """As ``pgbackrest-gate`` outside its unit, with the group that the unit gives it."""
    decoy = f"/var/lib/pgbackrest/backup/{CLUSTER}/rt_decoy"
    log = f"/var/log/pgbackrest/{CLUSTER}-backup.log"
    gate = "setpriv --reuid pgbackrest-gate --regid pgbackrest --clear-groups --"
    site.root("backup1", f"echo precious > {decoy}; chown pgbackrest: {decoy}")
    try:
        for line in (
            f"ln -sf {decoy} {log}",
            f"ln -s {decoy} /var/log/pgbackrest/rt.log",
            f"touch /run/pgbackrest/{CLUSTER}.stop",
            f"mv {log} {log}.away",
            "cat /etc/pgbackrest/pgbackrest.conf",
            "cat /etc/dbops/tls/client.key",
            "cat /etc/dbops/tls/host.key",
        ):
            status = site.root("backup1", f"{gate} sh -c '{line}' >/dev/null 2>&1; echo $?")
            assert status != "0", f"pgbackrest-gate was let do: {line}"
        assert site.root("backup1", f"cat {decoy}") == "precious"
    finally:
        site.root(
            "backup1", f"rm -f {decoy} /var/log/pgbackrest/rt.log; [ ! -L {log} ] || rm {log}"
        )
        site.root("backup1", f"rm -f /run/pgbackrest/{CLUSTER}.stop")
    assert site.root("backup1", "id -Gn pgbackrest-gate") == "pgbackrest-gate"
