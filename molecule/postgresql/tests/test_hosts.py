"""What stands on the hosts: services that start by themselves, and files closed to others."""

from __future__ import annotations

import os

import pytest

DEBIAN = {"bookworm": "12", "trixie": "13"}[os.environ["DBOPS_LAB_RELEASE"]]
VERSION = {"12": "15", "13": "17"}[DEBIAN]
testinfra_hosts = ["ansible://dbops"]

_UNITS = {
    "pg": [
        "dbops-exporter.service",
        "dbops-heartbeat-flights.service",
        "pgbackrest-server.service",
    ],
    "backup": [
        "dbops-exporter.service",
        "pgbackrest-gate.service",
        "pgbackrest-seal.timer",
        "dbops-backup-flights@full.timer",
        "dbops-backup-flights@differential.timer",
        "dbops-backup-flights@incremental.timer",
        "dbops-verify-flights.timer",
    ],
    "drill": ["dbops-exporter.service", "dbops-drill-flights.timer"],
}
_EVERYWHERE = [
    ("/etc/dbops/targets/flights.json", "root", "dbops", 0o640),
    ("/etc/dbops/secrets", "root", "dbops", 0o750),
    ("/var/lib/dbops", "root", "root", 0o755),
]
_FILES = {
    "pg": [
        ("/etc/dbops/tls/host.key", "root", "postgres", 0o640),
        ("/etc/dbops/tls/client.key", "root", "postgres", 0o640),
        ("/etc/dbops/secrets/postgresql-replication.pgpass", "postgres", "postgres", 0o600),
        ("/etc/pgbackrest/pgbackrest.conf", "postgres", "postgres", 0o600),
        (f"/etc/postgresql/{VERSION}", "root", "root", 0o755),
        (f"/etc/postgresql/{VERSION}/main", "root", "postgres", 0o750),
        (f"/etc/postgresql/{VERSION}/main/pg_hba.conf", "root", "postgres", 0o640),
        (f"/etc/postgresql/{VERSION}/main/postgresql.conf", "root", "postgres", 0o640),
        ("/var/lib/dbops/flights", "root", "dbops", 0o750),
        (f"/var/lib/postgresql/{VERSION}/main", "postgres", "postgres", 0o750),
    ],
    "backup": [
        ("/etc/dbops/tls/client.key", "root", "pgbackrest-client", 0o640),
        ("/etc/dbops/tls/gate.key", "root", "pgbackrest-gate", 0o640),
        ("/etc/dbops/secrets/postgresql-flights-backup.pgpass", "pgbackrest", "pgbackrest", 0o600),
        ("/etc/pgbackrest/pgbackrest.conf", "pgbackrest", "pgbackrest", 0o600),
        ("/var/lib/pgbackrest", "pgbackrest", "pgbackrest", 0o750),
        ("/var/lib/pgbackrest/archive/flights", "pgbackrest", "pgbackrest", 0o3770),
    ],
    "drill": [
        ("/etc/dbops/tls/client.key", "root", "postgres", 0o640),
        ("/etc/pgbackrest/pgbackrest.conf", "postgres", "postgres", 0o600),
    ],
}


def _part(host) -> str:
    return host.check_output("hostname").rstrip("0123456789")


def test_the_release_is_the_one_meant(host) -> None:
    assert host.system_info.release.startswith(DEBIAN)


def test_units_run_and_start_with_the_host(host) -> None:
    names = _UNITS[_part(host)]
    for verb, answer in (("is-active", "active"), ("is-enabled", "enabled")):
        said = host.run(f"systemctl {verb} {' '.join(names)}").stdout.split()
        assert dict(zip(names, said, strict=True)) == dict.fromkeys(names, answer)


def test_the_server_starts_with_the_host(host) -> None:
    if _part(host) != "pg":
        pytest.skip("no server here")
    assert host.service(f"postgresql@{VERSION}-main.service").is_running
    assert host.file(f"/etc/postgresql/{VERSION}/main/start.conf").content_string == "auto\n"


def test_files_are_closed_to_others(host) -> None:
    wanted = [f"{path} {user}:{group} {mode:o}" for path, user, group, mode in _EVERYWHERE]
    wanted += [f"{path} {user}:{group} {mode:o}" for path, user, group, mode in _FILES[_part(host)]]
    paths = " ".join(line.split()[0] for line in wanted)
    assert host.check_output(f"stat -c '%n %U:%G %a' {paths}").splitlines() == wanted
