"""The repository host may read a member's data directory, and do nothing else on the member."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.postgresql import pgbackrest
from tests.e2e.postgresql.hosts import CLUSTER, MEMBERS, Site

_SSH = "var/lib/postgresql/.ssh"


@pytest.fixture(autouse=True)
def _stolen(site: Site) -> Iterator[None]:
    """Copy what the repository host shows as a client: its root can, and pgBackRest wants so."""
    for kind in ("cert", "key"):
        line = f"sed -n 's/^pg1-host-{kind}-file=//p' /etc/pgbackrest/pgbackrest.conf"
        site.root("backup1", f"install -m 0600 $({line}) /var/tmp/rt-{kind}")
    yield
    site.root("backup1", "rm /var/tmp/rt-cert /var/tmp/rt-key")


def _as_repository(site: Site, member: str, line: str) -> tuple[int, str]:
    """Run pgBackRest on the repository host as its root, with ``member`` for a repository."""
    settings: dict[str, str | None] = {
        "repo1-path": "/",
        "repo1-host": member,
        "repo1-host-type": "tls",
        "repo1-host-ca-file": "/etc/dbops/tls/ca.crt",
        "repo1-host-cert-file": "/var/tmp/rt-cert",
        "repo1-host-key-file": "/var/tmp/rt-key",
        "repo1-cipher-type": "none",
        "repo1-cipher-pass": None,
    }
    done = pgbackrest.run(site, "backup1", "root", settings, line)
    return done.status, done.said


def test_it_reads_the_data_directory_and_nothing_else(site: Site) -> None:
    for member in MEMBERS:
        data = site.settings(member)["options"]["data_dir"]
        site.root(member, f"install -d -m 0755 /{_SSH}; echo key > /{_SSH}/authorized_keys")
        status, said = _as_repository(site, member, f"--raw repo-get {data[1:]}/PG_VERSION")
        assert status == 0, said
        for path in (
            "etc/dbops/secrets/postgresql-replication.pgpass",
            "etc/dbops/tls/host.key",
            "etc/dbops/tls/client.key",
            "run/pgbackrest-key/server.key",
            "proc/self/maps",
            "etc/hostname",
            f"{_SSH}/authorized_keys",
        ):
            status, said = _as_repository(site, member, f"--raw repo-get {path}")
            assert status != 0, f"{member} gave /{path}: {said[:300]}"
        site.root(member, f"rm -r /{_SSH}")


def test_it_writes_nowhere(site: Site) -> None:
    for member in MEMBERS:
        data = site.settings(member)["options"]["data_dir"][1:]
        for path in (
            f"{data}/rt",
            f"{data}/base/rt",
            f"{data}/postgresql.auto.conf",
            f"{_SSH}/authorized_keys",
            f"run/pgbackrest/{CLUSTER}.stop",
            "var/spool/pgbackrest/rt",
            "var/log/pgbackrest/rt.log",
            "tmp/rt",
            "dev/shm/rt",
        ):
            line = f"--raw repo-put {path} < /etc/hostname"
            status, said = _as_repository(site, member, line)
            there = site.root(member, f'grep -sxF -- "$(cat /etc/hostname)" /{path} || true')
            site.root(member, f"[ -z '{there}' ] || rm -f /{path}")
            assert status != 0, f"{member} let write /{path}: {said[:300]}"


def test_it_logs_in_as_the_backup_account_alone(site: Site) -> None:
    """With a program of its own: one statement that pgBackRest sends is another one here."""
    primary = site.primary()
    number = MEMBERS.index(primary) + 1
    patch = "s/set search_path = .pg_catalog./create role rt_evil superuser /"
    evil = "/var/tmp/rt-pgbackrest"
    site.root("backup1", f"sed {patch!r} /usr/bin/pgbackrest > {evil}; chmod 0755 {evil}")
    try:
        for user in ("postgres", "dbops_backup", "dbops_monitor"):
            settings = {f"pg{number}-user": user}
            pgbackrest.run(site, "backup1", "pgbackrest", settings, "check", program=evil)
            query = "SELECT count(*) FROM pg_roles WHERE rolname = 'rt_evil'"
            assert site.ask(primary, query) == "0", f"it made itself a superuser as {user}"
    finally:
        site.root("backup1", f"rm {evil}")
        site.ask(primary, "DROP ROLE IF EXISTS rt_evil")
    assert (
        site.run("backup1", "pgbackrest", f"--stanza={CLUSTER}", "check", user="pgbackrest").status
        == 0
    )
