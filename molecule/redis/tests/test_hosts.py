"""What stands on the hosts: services that start by themselves, and files closed to others."""

from __future__ import annotations

import os

FLAVOR = os.environ.get("DBOPS_REDIS_FLAVOR", "redis")
DEBIAN = {"bookworm": "12", "trixie": "13"}[os.environ["DBOPS_LAB_RELEASE"]]
testinfra_hosts = ["ansible://dbops"]

_UNITS = {
    "redis": [
        "dbops-exporter.service",
        "dbops-heartbeat-flights-store.service",
        "dbops-redis-flights-store.service",
        "dbops-redis-sentinel-flights-store.service",
    ],
    "backup": [
        "dbops-exporter.service",
        "dbops-redis-replica-flights-store.service",
        "dbops-redis-sentinel-flights-store.service",
        "dbops-backup-flights-store@full.timer",
        "dbops-backup-flights-store@log.timer",
        "dbops-verify-flights-store.timer",
    ],
    "drill": ["dbops-exporter.service", "dbops-drill-flights-store.timer"],
}
_SECRETS = "/etc/dbops/secrets/redis-flights-store"
_FOLDER = "/etc/dbops-redis/flights-store"
_EVERYWHERE = [
    ("/etc/dbops/targets/flights-store.json", "root", "dbops", "640"),
    ("/etc/dbops/secrets", "root", "dbops", "750"),
    ("/var/lib/dbops", "root", "root", "755"),
]
_KEYS = "/etc/dbops/tls"
_FILES = {
    "redis": [
        (f"{_KEYS}/host.key", "root", FLAVOR, "640"),
        (f"{_KEYS}/client.key", "root", FLAVOR, "640"),
        (f"{_KEYS}/agent.key", "root", "dbops", "640"),
        (f"{_SECRETS}-admin.password", "root", "root", "600"),
        (f"{_SECRETS}-monitor.password", "dbops", "dbops", "600"),
        (f"{_SECRETS}-repository.key", "root", "root", "600"),
        (f"{_FOLDER}/server.conf", "root", FLAVOR, "640"),
        (f"{_FOLDER}/secret.conf", "root", FLAVOR, "640"),
        (f"{_FOLDER}/users.acl", "root", FLAVOR, "640"),
        (f"{_FOLDER}/sentinel.acl", "root", FLAVOR, "640"),
        (f"/var/lib/{FLAVOR}/flights-store", FLAVOR, FLAVOR, "700"),
    ],
    "backup": [
        (f"{_KEYS}/host.key", "root", FLAVOR, "640"),
        (f"{_KEYS}/client.key", "root", FLAVOR, "640"),
        (f"{_KEYS}/agent.key", "root", "dbops-repository", "640"),
        (f"{_SECRETS}-backup.password", "dbops-repository", "dbops-repository", "600"),
        (f"{_SECRETS}-repository.key", "dbops-repository", "dbops-repository", "600"),
        (f"{_FOLDER}/users.acl", "root", "dbops-repository", "640"),
        ("/var/lib/dbops-repository/flights-store/replica", "dbops-repository",
         "dbops-repository", "700"),
    ],
    "drill": [(f"{_SECRETS}-repository.key", "root", "root", "600")],
}  # fmt: skip


def _part(host) -> str:
    return host.check_output("hostname").rstrip("0123456789")


def test_the_release_is_the_one_meant(host) -> None:
    assert host.system_info.release.startswith(DEBIAN)


def test_units_run_and_start_with_the_host(host) -> None:
    names = _UNITS[_part(host)]
    for verb, answer in (("is-active", "active"), ("is-enabled", "enabled")):
        said = host.run(f"systemctl {verb} {' '.join(names)}").stdout.split()
        assert dict(zip(names, said, strict=True)) == dict.fromkeys(names, answer)


def test_the_package_s_own_server_does_not_run(host) -> None:
    assert host.run(f"systemctl is-active {FLAVOR}-server.service").stdout.strip() != "active"


def test_files_are_closed_to_others(host) -> None:
    files = [*_EVERYWHERE, *_FILES[_part(host)]]
    wanted = [f"{path} {user}:{group} {mode}" for path, user, group, mode in files]
    paths = " ".join(line.split()[0] for line in wanted)
    assert host.check_output(f"stat -c '%n %U:%G %a' {paths}").splitlines() == wanted
