"""What stands on the hosts: services that start by themselves, and files closed to others."""

from __future__ import annotations

import os

FLAVOR = os.environ.get("DBOPS_MYSQL_FLAVOR", "mariadb")
DEBIAN = {"bookworm": "12", "trixie": "13"}[os.environ["DBOPS_LAB_RELEASE"]]
testinfra_hosts = ["ansible://dbops"]

_UNITS = {
    "mysql": ["dbops-exporter.service", "dbops-heartbeat-flights-sql.service", f"{FLAVOR}.service"],
    "backup": [
        "dbops-exporter.service",
        "dbops-binlog-flights-sql@mysql1.service",
        "dbops-binlog-flights-sql@mysql2.service",
        "dbops-backup-flights-sql@full.timer",
        *(["dbops-backup-flights-sql@incremental.timer"] if FLAVOR == "mariadb" else []),
        "dbops-backup-flights-sql@log.timer",
        "dbops-verify-flights-sql.timer",
        "dbops-members-flights-sql.timer",
    ],
    "drill": ["dbops-exporter.service", "dbops-drill-flights-sql.timer"],
}
_SECRETS = "/etc/dbops/secrets/mysql-flights-sql"
_EVERYWHERE = [
    ("/etc/dbops/targets/flights-sql.json", "root", "dbops", "640"),
    ("/etc/dbops/secrets", "root", "dbops", "750"),
    ("/var/lib/dbops", "root", "root", "755"),
]
_OWN = ("dbops-repository", "dbops-repository")
_FILES = {
    "mysql": [
        ("/etc/dbops/tls/host.key", "root", "mysql", "640"),
        ("/etc/dbops/tls/client.key", "root", "mysql", "640"),
        (f"{_SECRETS}-repository.key", "root", "root", "600"),
        ("/etc/mysql/dbops.cnf", "root", "mysql", "640"),
        ("/etc/sudoers.d/dbops-stream", "root", "root", "440"),
        ("/etc/ssh/dbops-stream.keys", "root", "root", "644"),
        ("/var/lib/dbops/flights-sql", "root", "dbops", "750"),
        ("/var/lib/mysql", "root", "mysql", "750"),
        ("/var/lib/mysql/main", "mysql", "mysql", "700"),
    ],
    "backup": [
        ("/etc/dbops/tls/client.key", "root", "dbops-repository", "640"),
        (f"{_SECRETS}-backup.cnf", *_OWN, "400"),
        (f"{_SECRETS}-binlog.cnf", *_OWN, "400"),
        (f"{_SECRETS}-repository.key", *_OWN, "600"),
        (f"{_SECRETS}-stream.ssh", *_OWN, "600"),
        ("/var/lib/dbops-repository/flights-sql/binlog", *_OWN, "700"),
    ],
    "drill": [(f"{_SECRETS}-repository.key", "root", "root", "600")],
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


def test_files_are_closed_to_others(host) -> None:
    files = [*_EVERYWHERE, *_FILES[_part(host)]]
    wanted = [f"{path} {user}:{group} {mode}" for path, user, group, mode in files]
    paths = " ".join(line.split()[0] for line in wanted)
    assert host.check_output(f"stat -c '%n %U:%G %a' {paths}").splitlines() == wanted
