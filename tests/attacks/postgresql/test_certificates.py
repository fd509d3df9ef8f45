"""Certificates shown where they do not belong: a server's as a client's, the gate's to members."""

from __future__ import annotations

import pytest

from tests.e2e.postgresql.hosts import CLUSTER, Site

_TLS = "/etc/dbops/tls"


def _lists(site: Site, host: str, server: str, certificate: str) -> str:
    """Return what pgBackRest's server on ``server`` says to ``certificate`` of ``host``."""
    return site.root(
        host,
        # pgBackRest wants a key that root shows to be closed to every group.
        f"mkdir -p /tmp/shown && cd /tmp/shown && install -m 600 {_TLS}/{certificate}.key key && "
        f"timeout 60 pgbackrest --config=/dev/null --stanza={CLUSTER} --log-path=/tmp/shown "
        f"--log-level-file=off --repo1-path=/ --repo1-host={server} "
        f"--repo1-host-type=tls --repo1-host-ca-file={_TLS}/ca.crt "
        f"--repo1-host-cert-file={_TLS}/{certificate}.crt "
        "--repo1-host-key-file=/tmp/shown/key repo-ls etc 2>&1; "
        "echo; echo status $?; rm -r /tmp/shown",
    )


@pytest.mark.parametrize(
    ("host", "server", "certificate"),
    [
        ("backup1", "pg1", "gate"),
        ("backup1", "pg2", "gate"),
        ("pg2", "backup1", "host"),
        ("pg2", "pg1", "host"),
        ("pg2", "pg1", "client"),
        ("drill1", "pg1", "client"),
    ],
)
def test_no_other_certificate_opens_a_members_or_the_gates_door(
    site: Site, host: str, server: str, certificate: str
) -> None:
    said = _lists(site, host, server, certificate)
    assert "passwd" not in said, f"{host} listed the files of {server}"
    assert "certificate" in said or "access denied" in said or "unexpected eof" in said, said


def test_the_right_ones_work_and_nobody_else_reads_the_keys(site: Site) -> None:
    site.take("incremental")
    for account in ("pgbackrest-gate", "dbops"):
        script = f"setpriv --reuid={account} --regid={account} --init-groups cat {_TLS}/client.key"
        assert "PRIVATE" not in site.root("backup1", f"{script} 2>&1 || true"), account
    for account in ("dbops",):
        for key in ("host", "client"):
            script = f"setpriv --reuid={account} --regid={account} --init-groups cat"
            said = site.root("pg1", f"{script} {_TLS}/{key}.key 2>&1 || true")
            assert "PRIVATE" not in said, (account, key)
